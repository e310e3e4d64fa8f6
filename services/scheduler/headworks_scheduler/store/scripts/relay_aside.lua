-- relay_aside: set events aside that cannot be sent, with the reason; those of the same job wait behind them.
--
-- KEYS[1]  cell    {hw:<cell>}
-- ARGV[1]  now_us  us since the epoch; "" means the server's own clock
-- ARGV[2]  fence   the fence held
-- ARGV[3]  id      an entry of the outbox that is not yet behind the cursor
-- ARGV[4]  reason  why it cannot be sent; further ids and reasons follow, in the order of the outbox
--
-- returns  how many were set aside (one that already was does not count again); -1 when another owner has the lease
-- effect   copies them to <cell>:outbox:aside under the same id, the field `reason` first; moving the cursor is
--          relay_ack's part
-- cost     O(events)
--@include prelude

local relay, outbox, aside = cell .. ':relay', cell .. ':outbox', cell .. ':outbox:aside'
local fence = ARGV[2]

if redis.call('HGET', relay, 'fence') ~= fence then
  return -1
end

redis.call('HDEL', relay, '')  -- allowed at maxmemory, and so lets XADD pass
local count = 0
for i = 3, #ARGV, 2 do
  local id, reason = ARGV[i], ARGV[i + 1]
  local entry = redis.call('XRANGE', outbox, id, id)[1]
  -- Ids only grow: what does not lie behind the last one was set aside by an owner that did not live to move the cursor.
  local added = entry and redis.pcall('XADD', aside, id, 'reason', reason, unpack(entry[2]))
  if type(added) == 'string' then
    count = count + 1
  elseif added and not string.find(added.err, 'equal or smaller', 1, true) then
    return added
  end
end
return count
