-- lag: how far the relay of a cell's outbox is behind.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
--
-- returns  {entries of the outbox, us since the first one that the broker has not acknowledged or -1, events set aside}
-- cost     O(1)
-- effect   none
--@include prelude

local outbox = cell .. ':outbox'
local cursor = redis.call('HGET', cell .. ':relay', 'cursor') or '0-0'
local first = redis.call('XRANGE', outbox, '(' .. cursor, '+', 'COUNT', 1)[1]
local age_us = -1
if first then
  age_us = int(math.max(0, now_us - tonumber(string.match(first[1], '^%d+')) * 1000))
end
return {redis.call('XLEN', outbox), tonumber(age_us), redis.call('XLEN', outbox .. ':aside')}
