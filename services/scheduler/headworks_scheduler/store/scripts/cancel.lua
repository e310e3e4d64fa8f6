-- cancel: end a job that no worker has; ask the worker of one that is leased.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  events        1 if the outbox is in use
-- ARGV[3]  ref
-- ARGV[4]  trace         of the caller, "" when not sampled
--
-- returns  {0 CANCELLED now or before, 1 the worker was asked, 2 it has succeeded or is dead, 3 there is none;
--          us until the lease ends, 0 if there is none}
-- effect   event `cancelled` if it ends here. The first write is ZREM, which a server out of memory allows
-- cost     O(log n)
--@include prelude
--@include ready
--@include ending

local events, ref, trace = ARGV[2], ARGV[3], ARGV[4]
local job = read_job(ref, {'state', 'lease', 'task', 'attempts', 'events', 'gen', 'watch', 'cancel', 'level', 'lane',
  'replica'})
local tenant, queue, tail = parts(ref)

if not job.state then
  return {3, 0}
elseif job.state == CANCELLED then
  return {0, 0}
elseif job.state == SUCCEEDED or job.state == DEAD then
  return {2, 0}
end

redis.call('ZREM', cell .. ':timers', 'r' .. ref, 'x' .. ref)
if job.state == LEASED then
  redis.call('HSET', job_key(ref), 'cancel', '1')
  if not job.cancel then
    redis.call('PUBLISH', cell .. ':replica:' .. job.replica, 'cancel ' .. ref .. ' ' .. job.lease)
    notify(ref, job.watch)
    notify_flush()
  end
  local ends_us = tonumber(redis.call('ZSCORE', cell .. ':leases', ref)) or now_us
  return {1, math.max(0, ends_us - now_us)}
end

if job.state == READY then
  unready(tenant, queue, tail, job.level, job.lane or '')
end
finish(events, job, 'cancelled', CANCELLED, trace, '')
count_waiting(queue, tenant, -1)
count_flush()
notify(ref, job.watch)
notify_flush()
return {0, 0}
