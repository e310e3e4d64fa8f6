-- reap: leases that have ended and were not renewed lose their worker.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  events        1 if the outbox is in use
-- ARGV[3]  lost_max      leases a job may lose before it is poison
-- ARGV[4]  poison        a serialised Failure for the dead letter
-- ARGV[5]  limit         at most 500
--
-- returns  {leases that ended, of these: undelivered, lost, poison, cancelled, repaired}
-- effect   the lease_id moves on, so the old worker is fenced; READY at its old place, DEAD with event `dead`, or
--          CANCELLED with event `cancelled` if that was requested
-- cost     O(log n) an item
--@include prelude
--@include ready
--@include ending

local events, lost_max, poison = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local REAP_FIELDS = {'state', 'lease', 'task', 'attempts', 'events', 'gen', 'watch', 'cancel', 'level', 'lane', 'seq',
  'beat', 'lost', 'undelivered', 'trace', 'expires'}
local ended = redis.call('ZRANGEBYSCORE', cell .. ':leases', '-inf', int(now_us), 'LIMIT', 0, tonumber(ARGV[5]))
local undelivered, lost, poisoned, cancelled, repaired = 0, 0, 0, 0, 0

local function reap(job)
  local key = job_key(job.ref)
  local tenant, queue, tail = parts(job.ref)
  local delivered = job.beat == job.lease
  redis.call('HSET', key, 'lease', int(tonumber(job.lease) + 1))
  count(queue, 'leased', -1)
  if delivered then
    lost = lost + 1
    redis.call('HINCRBY', key, 'lost', 1)
  else
    undelivered = undelivered + 1
    redis.call('HINCRBY', key, 'undelivered', 1)
    job.attempts = int(tonumber(job.attempts) - 1)
    redis.call('HSET', key, 'attempts', job.attempts)
  end
  if job.cancel then
    cancelled = cancelled + 1
    finish(events, job, 'cancelled', CANCELLED, job.trace or '', '')
  elseif delivered and (tonumber(job.lost) or 0) + 1 > lost_max then
    poisoned = poisoned + 1
    finish(events, job, 'dead', DEAD, job.trace or '', poison, 'failure', poison)
  else
    redis.call('HSET', key, 'state', READY)
    wait_again(job, tenant, queue, tail, 0)
  end
  notify(job.ref, job.watch)
end

if #ended > 0 then
  redis.call('ZREM', cell .. ':leases', unpack(ended))
end
for _, ref in ipairs(ended) do
  local job = read_job(ref, REAP_FIELDS)
  if job.state == LEASED then
    reap(job)
  else
    repaired = repaired + 1
  end
end
count_flush()
wake_flush()
notify_flush()
return {#ended, undelivered, lost, poisoned, cancelled, repaired}
