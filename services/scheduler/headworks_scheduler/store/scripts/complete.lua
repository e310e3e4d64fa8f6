-- complete: handlers returned; their jobs end SUCCEEDED.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  events        1 if the outbox is in use
-- ARGV[3]... at most 500 times: ref, lease_id, result, content_type, trace
--
-- returns  one number an item: 0 recorded (now or by an earlier call), 1 the lease was lost and nothing changed
-- effect   event `succeeded` in the same step. The first write is ZREM, which a server out of memory allows
-- cost     O(log n) an item
--@include prelude
--@include wake
--@include ending

local events, finished_us = ARGV[2], int(now_us)
local COMPLETE_FIELDS = {'state', 'lease', 'task', 'attempts', 'events', 'gen', 'watch'}
local results, valid, refs, seen = {}, {}, {}, {}

for at = 3, #ARGV, 5 do
  local ref = ARGV[at]
  local job = seen[ref] or read_job(ref, COMPLETE_FIELDS)
  local word = standing(job, ARGV[at + 1])
  results[#results + 1] = word == 'lost' and 1 or 0
  if word == 'valid' then
    job.state = SUCCEEDED  -- for a repetition in the same call
    seen[ref] = job
    job.at = at
    valid[#valid + 1] = job
    refs[#refs + 1] = ref
  end
end

if #refs > 0 then
  redis.call('ZREM', cell .. ':leases', unpack(refs))
  for queue, n in pairs(keep(refs)) do
    count(queue, 'leased', -n)
  end
end
for _, job in ipairs(valid) do
  local at = job.at
  local sequence = emit(events, job, 'succeeded', SUCCEEDED, ARGV[at + 4], '')
  redis.call('HSET', job_key(job.ref), 'state', SUCCEEDED, 'finished', finished_us, 'events', sequence,
    'result', ARGV[at + 2], 'type', ARGV[at + 3])
  notify(job.ref, job.watch)
end
count_flush()
notify_flush()
return results
