-- fail: handlers failed; their jobs wait for the next attempt, or are dead letters (see domain/retry.py).
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  events        1 if the outbox is in use
-- ARGV[3]... at most 500 times: ref, lease_id, failure, event_failure, retryable (1 or 0), retry_after_us (-1: the policy
--          decides), luck_milli (0..999), trace
--
-- returns  one number an item: 0 it will be retried, or was recorded by an earlier call, 1 the lease was lost and nothing
--          changed, 2 DEAD now, 3 CANCELLED now
-- effect   SCHEDULED with event `retrying`, READY at once if the delay is 0, DEAD with event `dead`, or CANCELLED with its
--          event if that was requested and another attempt was due. The first write is ZREM
-- cost     O(log n) an item
--@include prelude
--@include ready
--@include ending

local events = ARGV[2]
local FAIL_FIELDS = {'state', 'lease', 'task', 'attempts', 'events', 'gen', 'watch', 'cancel', 'failures', 'policy',
  'level', 'lane', 'seq', 'expires'}

local function back_off(policy, failures, luck_milli)
  local delay, max_us, multiplier, jitter = string.match(policy, '^%d+:%d+:(%d+):(%d+):(%d+):(%d+)$')
  delay, max_us, multiplier, jitter = tonumber(delay), tonumber(max_us), tonumber(multiplier), tonumber(jitter)
  for _ = 2, failures do
    delay = math.min(math.floor(delay * multiplier / 1000), max_us)
  end
  return delay - math.floor(math.floor(delay * jitter / 1000) * luck_milli / 1000)
end

local function stop(job, type, state, at, failures)
  local told = type == 'dead' and ARGV[at + 3] or ''
  finish(events, job, type, state, ARGV[at + 7], told, 'failure', ARGV[at + 2], 'failures', failures)
end

local function retry(job, tenant, queue, tail, at, failures)
  local delay_us = tonumber(ARGV[at + 5])
  if delay_us < 0 then
    delay_us = back_off(job.policy, failures, tonumber(ARGV[at + 6]))
  end
  local state = delay_us > 0 and SCHEDULED or READY
  local sequence = emit(events, job, 'retrying', state, ARGV[at + 7], ARGV[at + 3])
  redis.call('HSET', job_key(job.ref), 'state', state, 'due', int(now_us + delay_us), 'events', sequence,
    'failure', ARGV[at + 2], 'failures', failures)
  wait_again(job, tenant, queue, tail, delay_us)
end

local results = {}
for at = 3, #ARGV, 8 do
  local ref = ARGV[at]
  local job = read_job(ref, FAIL_FIELDS)
  local word = standing(job, ARGV[at + 1])
  results[#results + 1] = word == 'lost' and 1 or 0
  if word == 'valid' then
    local tenant, queue, tail = parts(ref)
    local failures = (tonumber(job.failures) or 0) + 1
    local attempts_max = tonumber(string.match(job.policy, '^%d+:(%d+):'))
    redis.call('ZREM', cell .. ':leases', ref)
    count(queue, 'leased', -1)
    if ARGV[at + 4] ~= '1' or failures >= attempts_max then
      stop(job, 'dead', DEAD, at, failures)
      results[#results] = 2
    elseif job.cancel then
      stop(job, 'cancelled', CANCELLED, at, failures)
      results[#results] = 3
    else
      retry(job, tenant, queue, tail, at, failures)
    end
    notify(ref, job.watch)
  end
end
count_flush()
wake_flush()
notify_flush()
return results
