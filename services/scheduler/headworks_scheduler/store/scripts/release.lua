-- release: a worker gives jobs back; the attempt does not count.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  events        1 if the outbox is in use
-- ARGV[3]... at most 500 times: ref, lease_id, delay_us (0: at once), trace
--
-- returns  one number an item: 0 recorded (now or by an earlier call), 1 the lease was lost and nothing changed, 2
--          CANCELLED now
-- effect   READY at its old place, SCHEDULED for delay_us, or CANCELLED with event `cancelled` if that was requested.
--          The first write is ZREM
-- cost     O(log n) an item
--@include prelude
--@include ready
--@include ending

local events = ARGV[2]
local RELEASE_FIELDS = {'state', 'lease', 'task', 'attempts', 'events', 'gen', 'watch', 'cancel', 'level', 'lane', 'seq',
  'expires'}
local results = {}

for at = 3, #ARGV, 4 do
  local ref, delay_us = ARGV[at], tonumber(ARGV[at + 2])
  local job = read_job(ref, RELEASE_FIELDS)
  local word = standing(job, ARGV[at + 1])
  results[#results + 1] = word == 'lost' and 1 or 0
  if word == 'valid' then
    local tenant, queue, tail = parts(ref)
    redis.call('ZREM', cell .. ':leases', ref)
    count(queue, 'leased', -1)
    if job.cancel then
      finish(events, job, 'cancelled', CANCELLED, ARGV[at + 3], '')
      results[#results] = 2
    else
      redis.call('HSET', job_key(ref), 'state', delay_us > 0 and SCHEDULED or READY, 'due', int(now_us + delay_us),
        'attempts', tonumber(job.attempts) - 1)
      wait_again(job, tenant, queue, tail, delay_us)
    end
    notify(ref, job.watch)
  end
end
count_flush()
wake_flush()
notify_flush()
return results
