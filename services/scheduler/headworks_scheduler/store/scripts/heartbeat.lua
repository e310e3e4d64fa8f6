-- heartbeat: a worker lists leases that it holds; each valid one is renewed and confirmed as delivered.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  lease_us   length of a renewed lease, from now
-- ARGV[3]  replica    that serves the worker now
-- ARGV[4]... at most 500 times: ref, lease_id, progress (serialised Progress, "" when nothing is new)
--
-- returns  one number an item: 0 renewed, 1 lost, 2 renewed and somebody asked to cancel it
-- effect   an expired lease that nobody has reaped yet is renewed like any other. The first write is ZREM, which a
--          server out of memory allows
-- cost     O(log n) an item
--@include prelude
--@include wake
--@include ending

local lease_us, replica = tonumber(ARGV[2]), ARGV[3]
local until_us = int(now_us + lease_us)
local BEAT_FIELDS = {'state', 'lease', 'cancel', 'watch', 'beat', 'replica'}
local results, renewed = {}, {}

redis.call('ZREM', cell .. ':leases', '')
for at = 4, #ARGV, 3 do
  local ref, lease_id, progress = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local job = read_job(ref, BEAT_FIELDS)
  if standing(job, lease_id) ~= 'valid' then
    results[#results + 1] = 1
  else
    results[#results + 1] = job.cancel and 2 or 0
    renewed[#renewed + 1] = until_us
    renewed[#renewed + 1] = ref
    if job.beat ~= lease_id or job.replica ~= replica then
      redis.call('HSET', job_key(ref), 'beat', lease_id, 'replica', replica)
    end
    if progress ~= '' then
      redis.call('HSET', job_key(ref), 'progress', progress)
      notify(ref, job.watch)
    end
  end
end
if #renewed > 0 then
  redis.call('ZADD', cell .. ':leases', unpack(renewed))
end
notify_flush()
return results
