-- decide: decide requests in turn, each against all its buckets or none (see domain.decision).
--
-- KEYS     the distinct buckets and grant records of the batch, in any order
-- ARGV[1]  now_us  us since the epoch; "" means the server's own clock
-- ARGV[2]  batch   JSON, as it is decoded at once, by C:
--            rules     a list for each: its algorithm and four thresholds (see the includes); shadow 0|1: it refuses nothing
--            requests  one flat list, for each request: mode 0 look | 1 take | 2 recall;
--                      permits, >= 1 and at most what each bucket can hold;
--                      record, an index of KEYS or 0; fingerprint of the request; number of buckets,
--                      and for each bucket: an index of KEYS, and the number of its rule
--
-- returns  one flat list, for each request: answer, permits, and for each bucket: allowed 0|1, remaining,
--          reset_after_us, retry_after_us; answer 0 refused | 1 allowed | 2 replayed | 3 id reused |
--          4 nothing to recall | 5 would be allowed, but the store takes no writes
-- effect   writes each bucket that permits were taken from, and a record of each grant that has one, once;
--          nothing at all where the store refuses the first write
-- cost     O(keys + buckets of all requests), and for logs their entries; one cell

local REFUSED, ALLOWED, REPLAYED, REUSED, UNRECORDED, UNSTORED = 0, 1, 2, 3, 4, 5
local TAKE, RECALL = 1, 2
local MARGIN_US = 60000000 -- a TTL collects garbage; the minute keeps it from ever deciding
local RECORD_US = 600000000

--@include gcra
--@include fixed_window
--@include sliding_window_log
--@include token_bucket
--@include sliding_window_counter

local ALGORITHMS = {gcra = gcra, fixed_window = fixed_window, sliding_window_log = sliding_window_log,
  token_bucket = token_bucket, sliding_window_counter = sliding_window_counter}

local now_us = tonumber(ARGV[1])
if not now_us then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
end
local batch = cjson.decode(ARGV[2])
local rules, requests = batch.rules, batch.requests

local states = {} -- by index of KEYS; false: missing
for first = 1, #KEYS, 1000 do -- unpack has a limit
  local last = math.min(first + 999, #KEYS)
  for offset, value in ipairs(redis.call('MGET', unpack(KEYS, first, last))) do
    states[first + offset - 1] = value
  end
end

local changed, lives_us, dirty -- by index of KEYS: new value, its time to live; and the indexes in order
local reply, filled -- the list that is returned, and its length
local after, resets_us = {}, {} -- by bucket of the request at hand: the state if permits are taken, false if the bucket
-- refuses them; and its reset

local function state(key)
  return changed[key] or states[key] or nil
end

local function change(key, value, life_us)
  if not changed[key] then
    dirty[#dirty + 1] = key
  end
  changed[key], lives_us[key] = value, life_us
end

local function take(at, permits)
  local rule = rules[requests[at + 1]]
  return ALGORITHMS[rule[1]](state(requests[at]), permits, rule, now_us)
end

-- Ask the `count` buckets from requests[at] for permits, 0 to look, and write down what each says; returns whether all
-- allow it, but for those on trial. Takes nothing yet.
local function ask(at, count, permits)
  local all = true
  for bucket = 1, count do
    local allowed, remaining, reset_us, retry_us, value = take(at + 2 * bucket - 2, permits)
    all = all and (allowed or rules[requests[at + 2 * bucket - 1]][6] == 1)
    after[bucket], resets_us[bucket] = allowed and value, reset_us
    reply[filled + 1], reply[filled + 2] = allowed and 1 or 0, remaining
    reply[filled + 3], reply[filled + 4] = reset_us, retry_us
    filled = filled + 4
  end
  return all
end

-- Permits were not taken after all: write down what the `count` buckets that would have given them hold as they stand.
local function look_again(at, count)
  local first = filled - 4 * count
  for bucket = 1, count do
    local entry = first + 4 * bucket - 4
    if reply[entry + 1] == 1 then
      local _, remaining, reset_us = take(at + 2 * bucket - 2, 0)
      reply[entry + 2], reply[entry + 3] = remaining, reset_us
    end
  end
end

-- The answer that the request's id already has, if any, and the permits granted.
local function recall(record, fingerprint)
  local value = record > 0 and state(record)
  local deadline, permits, owner = string.match(value or '', '^(%d+):(%d+):(%x+)$')
  if not deadline or now_us >= tonumber(deadline) then
    return nil
  end
  return owner == fingerprint and REPLAYED or REUSED, tonumber(permits)
end

local function decide(at, writable)
  local mode, permits, record = requests[at], requests[at + 1], requests[at + 2]
  local fingerprint, count, buckets = requests[at + 3], requests[at + 4], at + 5
  local answer, granted = recall(record, fingerprint)
  if mode == RECALL and not answer then
    answer = UNRECORDED
  end
  if answer then
    ask(buckets, count, 0)
    return answer, granted or 0
  end
  local all = ask(buckets, count, permits)
  if not (all and writable and mode == TAKE) then
    look_again(buckets, count)
    return all and (mode == TAKE and UNSTORED or ALLOWED) or REFUSED, 0
  end
  for bucket = 1, count do
    if after[bucket] then
      change(requests[buckets + 2 * bucket - 2], after[bucket], resets_us[bucket])
    end
  end
  if record > 0 then
    change(record, string.format('%d:%d:%s', now_us + RECORD_US, permits, fingerprint), RECORD_US)
  end
  return ALLOWED, permits
end

local function decide_all(writable)
  changed, lives_us, dirty = {}, {}, {}
  reply, filled = {}, 0
  local at = 1
  while at <= #requests do
    local head = filled
    filled = head + 2
    reply[head + 1], reply[head + 2] = 0, 0 -- keeps the list dense
    reply[head + 1], reply[head + 2] = decide(at, writable)
    at = at + 5 + 2 * requests[at + 4]
  end
end

decide_all(true)
for position, key in ipairs(dirty) do
  -- Only the first write of a script can be refused (no memory, read-only replica): then nothing was written.
  local call = position == 1 and redis.pcall or redis.call
  local result = call('SET', KEYS[key], changed[key], 'PX', math.ceil((lives_us[key] + MARGIN_US) / 1000))
  if result.err then
    decide_all(false)
    break
  end
end
return reply
