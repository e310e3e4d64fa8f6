-- forget: delete jobs whose retention is over, and the oldest finished ones beyond a cap.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  finished_max  finished jobs that the cell keeps at most
-- ARGV[3]  limit         at most 500
--
-- returns  how many were deleted
-- effect   removes the jobs and their places in the finished-at index, those that finished first
-- cost     O(log n) a job
--@include prelude

local finished, limit = cell .. ':finished', tonumber(ARGV[3])
local surplus = math.min(limit, redis.call('ZCARD', finished) - tonumber(ARGV[2]))
local refs
if surplus > 0 then
  refs = redis.call('ZRANGE', finished, 0, surplus - 1)
else
  refs = redis.call('ZRANGEBYSCORE', finished, '-inf', int(now_us), 'LIMIT', 0, limit)
end
if #refs == 0 then
  return 0
end
local keys = {}
for i, ref in ipairs(refs) do
  keys[i] = job_key(ref)
end
redis.call('ZREM', finished, unpack(refs))
redis.call('UNLINK', unpack(keys))
return #refs
