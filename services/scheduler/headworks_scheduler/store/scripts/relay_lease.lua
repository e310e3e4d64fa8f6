-- relay_lease: take, or renew, the right to relay a cell's outbox.
--
-- KEYS[1]  cell      {hw:<cell>}
-- ARGV[1]  now_us    us since the epoch; "" means the server's own clock
-- ARGV[2]  owner     the replica that asks; for people
-- ARGV[3]  lease_us  how long the right lasts, >= 1
-- ARGV[4]  fence     the fence held, to renew; 0 to take a lease that nobody holds
--
-- returns  {fence, cursor, left_us}; fence 0: another owner holds it for left_us more, or has had it since
-- effect   writes <cell>:relay (hash: owner, fence, until, cursor) when it is granted; a lease that ran out but that
--          nobody took is still renewed
-- cost     O(1)
--@include prelude

local relay = cell .. ':relay'
local owner, lease_us, fence = ARGV[2], tonumber(ARGV[3]), ARGV[4]

local held = redis.call('HMGET', relay, 'fence', 'until', 'cursor')
local held_fence, left_us = tonumber(held[1]) or 0, (tonumber(held[2]) or 0) - now_us
local cursor = held[3] or '0-0'

if fence == '0' and left_us > 0 or fence ~= '0' and fence ~= held[1] then
  return {0, cursor, math.max(left_us, 0)}
end

redis.call('HDEL', relay, '')  -- allowed at maxmemory, and so lets the writes below pass: a full Redis must drain
if fence == '0' then
  held_fence = math.max(held_fence + 1, now_us)  -- stays unique even if a failover loses the last one
  redis.call('HSET', relay, 'owner', owner, 'fence', int(held_fence))
  redis.call('DEL', relay .. ':freed')
end
redis.call('HSET', relay, 'until', int(now_us + lease_us))
return {held_fence, cursor, lease_us}
