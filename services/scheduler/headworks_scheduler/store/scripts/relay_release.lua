-- relay_release: give the right to relay a cell's outbox back, and wake one replica that waits for it.
--
-- KEYS[1]  cell    {hw:<cell>}
-- ARGV[1]  now_us  us since the epoch; "" means the server's own clock
-- ARGV[2]  fence   the fence held
--
-- returns  1, or 0 when another owner has had the lease since: then nothing changes
-- effect   ends the lease; puts one token on <cell>:relay:freed, which whoever takes the lease removes
-- cost     O(1)
--@include prelude

local relay = cell .. ':relay'
local fence = ARGV[2]

if redis.call('HGET', relay, 'fence') ~= fence then
  return 0
end
redis.call('HDEL', relay, 'until')
redis.call('DEL', relay .. ':freed')
redis.call('LPUSH', relay .. ':freed', '1')
return 1
