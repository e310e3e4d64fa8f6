-- workers_read: what is known of some workers.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]... ids of workers, at most 500
--
-- returns  a list a worker, empty if it is not known: us since a replica spoke of it, replica, state, hello, time at which
--          its session began, us since it was heard, held, succeeded, failed, released
-- cost     O(1) a worker
-- effect   none
--@include prelude

local rows = {}
for at = 2, #ARGV do
  local told_us = redis.call('ZSCORE', cell .. ':workers', ARGV[at])
  local row = redis.call('HMGET', cell .. ':worker:' .. ARGV[at], 'replica', 'state', 'hello', 'attached', 'heard', 'held',
    'succeeded', 'failed', 'released')
  if told_us and row[1] then
    row[5] = int(now_us - tonumber(row[5]))
    rows[at - 1] = {int(now_us - tonumber(told_us)), unpack(row)}
  else
    rows[at - 1] = {}
  end
end
return rows
