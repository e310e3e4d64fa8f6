-- decide: decide requests in turn, each against all its buckets or none (see domain.decision).
--
-- KEYS     the distinct buckets and grant records of the batch, in any order
-- ARGV[1]  now_us  us since the epoch; "" means the server's own clock
-- ARGV[2]  number of rules; then for each, five arguments:
--            algorithm gcra|fixed_window, and its four thresholds (see the includes)
-- then     for each request, five arguments:
--            mode 0 look | 1 take | 2 recall; permits, >= 1 and at most what each bucket can hold;
--            record, an index of KEYS or 0; fingerprint of the request; number of buckets,
--          and for each bucket two: an index of KEYS, and the number of its rule
--
-- returns  for each request {answer, permits, then for each bucket allowed 0|1, remaining, reset_after_us,
--          retry_after_us}; answer 0 refused | 1 allowed | 2 replayed | 3 id reused | 4 nothing to recall |
--          5 would be allowed, but the store takes no writes
-- effect   writes each bucket that permits were taken from, and a record of each grant that has one, once;
--          nothing at all where the store refuses the first write
-- cost     O(keys + buckets of all requests); one cell

local REFUSED, ALLOWED, REPLAYED, REUSED, UNRECORDED, UNSTORED = 0, 1, 2, 3, 4, 5
local TAKE, RECALL = 1, 2
local MARGIN_US = 60000000 -- a TTL collects garbage; the minute keeps it from ever deciding
local RECORD_US = 600000000

--@include gcra
--@include fixed_window

local ALGORITHMS = {gcra = gcra, fixed_window = fixed_window}

local now_us = tonumber(ARGV[1])
if not now_us then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
end

local rules = {}
for rule = 1, tonumber(ARGV[2]) do
  local at = 5 * rule - 2
  rules[rule] = {
    tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]),
    take = ALGORITHMS[ARGV[at]],
  }
end

local stored = {} -- by index of KEYS, as it was
for first = 1, #KEYS, 1000 do -- unpack has a limit
  local last = math.min(first + 999, #KEYS)
  for offset, value in ipairs(redis.call('MGET', unpack(KEYS, first, last))) do
    stored[first + offset - 1] = value
  end
end

local changed, lives_us, dirty -- by index of KEYS: new value, its time to live; and the indexes in order

local function state(key)
  return changed[key] or stored[key] or nil -- MGET says false for a missing key
end

local function change(key, value, life_us)
  if not changed[key] then
    dirty[#dirty + 1] = key
  end
  changed[key], lives_us[key] = value, life_us
end

-- Ask the `count` buckets from ARGV[at] for permits, 0 to look; appends what each says and takes nothing yet.
local function ask(reply, at, count, permits)
  local all, after = true, {}
  for bucket = 1, count do
    local key, rule = tonumber(ARGV[at]), rules[tonumber(ARGV[at + 1])]
    local allowed, remaining, reset_us, retry_us, value = rule.take(state(key), permits, rule, now_us)
    if not allowed then
      all = false
    elseif permits > 0 then
      after[bucket] = {key, value, reset_us}
    end
    local filled = #reply
    reply[filled + 1], reply[filled + 2] = allowed and 1 or 0, remaining
    reply[filled + 3], reply[filled + 4] = reset_us, retry_us
    at = at + 2
  end
  return all, after
end

-- Where nothing was taken, a bucket that would have allowed it is shown as it stands.
local function show_as_it_stands(reply, at, after)
  for bucket, _ in pairs(after) do
    local key, rule = tonumber(ARGV[at + 2 * bucket - 2]), rules[tonumber(ARGV[at + 2 * bucket - 1])]
    local _, remaining, reset_us = rule.take(state(key), 0, rule, now_us)
    reply[4 * bucket], reply[4 * bucket + 1] = remaining, reset_us
  end
end

-- The answer that an earlier request with the same id already has, and its permits.
local function recall(record, fingerprint)
  local value = record > 0 and state(record)
  if not value then
    return nil
  end
  local deadline, permits, owner = string.match(value, '^(%d+):(%d+):(%x+)$')
  if now_us >= tonumber(deadline) then
    return nil
  end
  return owner == fingerprint and REPLAYED or REUSED, tonumber(permits)
end

local function decide(at, writable)
  local mode, permits, record = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local fingerprint, count = ARGV[at + 3], tonumber(ARGV[at + 4])
  local answer, granted = recall(record, fingerprint)
  local reply = {answer or UNRECORDED, granted or 0}
  if answer == REPLAYED then
    ask(reply, at + 5, count, 0)
  end
  if answer or mode == RECALL then
    return reply
  end
  local all, after = ask(reply, at + 5, count, permits)
  if not (all and mode == TAKE and writable) then
    show_as_it_stands(reply, at + 5, after)
    reply[1] = all and (mode == TAKE and UNSTORED or ALLOWED) or REFUSED
    return reply
  end
  for _, bucket in ipairs(after) do
    change(bucket[1], bucket[2], bucket[3])
  end
  if record > 0 then
    change(record, string.format('%d:%d:%s', now_us + RECORD_US, permits, fingerprint), RECORD_US)
  end
  reply[1], reply[2] = ALLOWED, permits
  return reply
end

local function decide_all(writable)
  changed, lives_us, dirty = {}, {}, {}
  local replies = {}
  local at = 5 * tonumber(ARGV[2]) + 3
  while at <= #ARGV do
    replies[#replies + 1] = decide(at, writable)
    at = at + 5 + 2 * tonumber(ARGV[at + 4])
  end
  return replies
end

local function write(call, key)
  local ttl_ms = math.ceil((lives_us[key] + MARGIN_US) / 1000)
  return call('SET', KEYS[key], changed[key], 'PX', string.format('%d', ttl_ms))
end

local replies = decide_all(true)
for position, key in ipairs(dirty) do
  -- Only the first write of a script can be refused (no memory, read-only replica): then nothing was written.
  local result = write(position == 1 and redis.pcall or redis.call, key)
  if type(result) == 'table' and result.err then
    return decide_all(false)
  end
end
return replies
