-- due: timers whose time has come: delays and back-offs end, jobs expire.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  events        1 if the outbox is in use
-- ARGV[3]  expired       a serialised Failure for the dead letter
-- ARGV[4]  limit         at most 500
--
-- returns  {timers handled, us until the next one or -1}
-- effect   `r` timers: SCHEDULED -> READY; `x` timers: SCHEDULED or READY -> DEAD with event `dead`
-- cost     O(log n) an item
--@include prelude
--@include ready
--@include ending

local events, expired = ARGV[2], ARGV[3]
local timers = cell .. ':timers'
local DUE_FIELDS = {'state', 'task', 'attempts', 'events', 'gen', 'watch', 'level', 'lane', 'seq', 'trace'}
local members = redis.call('ZRANGEBYSCORE', timers, '-inf', int(now_us), 'LIMIT', 0, tonumber(ARGV[4]))

local function start(job, tenant, queue, tail)
  if job.state ~= SCHEDULED then
    return
  end
  local seq = job.seq or int(next_seq(1))
  redis.call('HSET', job_key(job.ref), 'state', READY, 'seq', seq)
  make_ready(tenant, queue, tail, job.level, job.lane or '', seq)
  notify(job.ref, job.watch)
end

local function expire(job, tenant, queue, tail)
  if job.state == READY then
    unready(tenant, queue, tail, job.level, job.lane or '')
  elseif job.state ~= SCHEDULED then
    return
  end
  redis.call('ZREM', timers, 'r' .. job.ref)
  finish(events, job, 'dead', DEAD, job.trace or '', expired, 'failure', expired)
  count_waiting(queue, tenant, -1)
  notify(job.ref, job.watch)
end

for _, member in ipairs(members) do
  redis.call('ZREM', timers, member)
  local job = read_job(string.sub(member, 2), DUE_FIELDS)
  local tenant, queue, tail = parts(job.ref)
  local handle = string.sub(member, 1, 1) == 'r' and start or expire
  handle(job, tenant, queue, tail)
end
count_flush()
wake_flush()
notify_flush()
local next = redis.call('ZRANGE', timers, 0, 0, 'WITHSCORES')
return {#members, next[2] and math.max(0, tonumber(next[2]) - now_us) or -1}
