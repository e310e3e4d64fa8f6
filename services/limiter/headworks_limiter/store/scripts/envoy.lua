-- envoy: count the hits of Envoy's descriptors, in turn (see headworks_limiter.envoy.windows).
--
-- KEYS     the distinct counters, of one cell; at most 1,000
-- ARGV[1]  now_us  us since the epoch; "" means the server's own clock
-- ARGV[2]  hits    JSON, one flat list, for each hit: an index of KEYS; length of its window in s; hits, 0..2^53-1;
--                  negative 0|1: they are given back
--
-- returns  one flat list, for each hit: count in the window, this hit included; s until the window ends, rounded up
-- effect   writes each counter that was hit, whether its limit (which is not known here) is exceeded or not
-- cost     O(keys + hits); one cell

local MAX_COUNT = 9007199254740991
local MARGIN_S = 60 -- a TTL collects garbage; the minute keeps it from ever deciding

local now_us = tonumber(ARGV[1])
local now_s = now_us and math.floor(now_us / 1000000) or tonumber(redis.call('TIME')[1])
local hits = cjson.decode(ARGV[2])

local states, lives_s, reply = redis.call('MGET', unpack(KEYS)), {}, {}

for at = 1, #hits, 4 do
  local key, length_s, added, negative = hits[at], hits[at + 1], hits[at + 2], hits[at + 3] == 1
  local start = now_s - now_s % length_s
  local begun, before = -1, 0
  if states[key] then
    local stored, taken = string.match(states[key], '^(%d+):(%d+)$')
    if tonumber(stored) >= start then -- a later one: the clock stepped back
      begun, before = tonumber(stored), tonumber(taken)
      start = begun
    end
  end
  local after = negative and math.max(before - added, 0) or math.min(before + added, MAX_COUNT)
  if added > 0 and not (negative and begun < 0) then
    states[key] = string.format('%d:%d', start, after)
    lives_s[key] = start + length_s - now_s + MARGIN_S
  end
  reply[#reply + 1] = after
  reply[#reply + 1] = start + length_s - now_s
end

for key, life_s in pairs(lives_s) do
  redis.call('SET', KEYS[key], states[key], 'EX', life_s)
end

return reply
