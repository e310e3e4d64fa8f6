-- relay_ack: move the outbox's cursor past events that the broker has acknowledged, and trim what lies behind it.
--
-- KEYS[1]  cell     {hw:<cell>}
-- ARGV[1]  now_us   us since the epoch; "" means the server's own clock
-- ARGV[2]  fence    the fence held
-- ARGV[3]  cursor   id of the last acknowledged entry; all before it are acknowledged too
-- ARGV[4]  keep_us  how long acknowledged entries stay for replay; 0: not at all
--
-- returns  1, or 0 when another owner has the lease: then nothing changes
-- effect   writes the cursor; removes entries up to the cursor that are older than keep_us, never one after it
-- cost     O(entries removed)
--@include prelude

local relay, outbox = cell .. ':relay', cell .. ':outbox'
local fence, cursor, keep_us = ARGV[2], ARGV[3], tonumber(ARGV[4])

if redis.call('HGET', relay, 'fence') ~= fence then
  return 0
end

local ms, seq = string.match(cursor, '^(%d+)%-(%d+)$')
local keep_from = ms .. '-' .. int(seq + 1)
local replay_ms = math.floor((now_us - keep_us) / 1000)
if keep_us > 0 and replay_ms <= tonumber(ms) then
  keep_from = int(replay_ms) .. '-0'
end
redis.call('XTRIM', outbox, 'MINID', keep_from)  -- first: allowed at maxmemory, which lets HSET pass
redis.call('HSET', relay, 'cursor', cursor)
return 1
