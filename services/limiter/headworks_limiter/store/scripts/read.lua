-- read: what buckets hold, at one time.
--
-- KEYS     the buckets, of one cell
-- ARGV[1]  now_us  us since the epoch; "" means the server's own clock
--
-- returns  now_us, and the state of each bucket; nil: it is full, or was never used
-- effect   none
-- cost     O(buckets)

local now_us = tonumber(ARGV[1])
if not now_us then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
end
return {now_us, redis.call('MGET', unpack(KEYS))}
