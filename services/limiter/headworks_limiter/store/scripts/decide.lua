-- decide: decide requests in turn, each against all its buckets or none (see domain.decision).
--
-- KEYS     the distinct buckets and grant records of the batch, in any order
-- ARGV[1]  now_us  us since the epoch; "" means the server's own clock
-- ARGV[2]  batch   JSON, as it is decoded at once, by C:
--            rules     a list for each, see include/buckets
--            terms     a list for each kind of terms: wait_us, how late the permits may begin; partial 0|1; holder, the
--                      grant's id or ""; hold_us, how long the grant may be settled; reserve_us, when what is taken
--                      ends by itself, 0: it stays; the grant's record in another cell or ""
--            requests  one flat list, for each request: mode 0 look | 1 take | 2 recall | 3 count: refused elsewhere;
--                      permits, >= 1 and at most what each bucket can hold;
--                      record, an index of KEYS or 0; fingerprint of the request; terms, an index or 0: none;
--                      number of buckets, and for each bucket: an index of KEYS, and the number of its rule
--
-- returns  one flat list, for each request: answer, permits, how many us from now they begin (negative: they began
--          then, for a replayed answer of what is held), and for each bucket:
--          allowed 0|1, remaining, reset_after_us, retry_after_us; answer 0 refused | 1 allowed | 2 replayed |
--          3 id reused | 4 nothing to recall | 5 would be allowed, but the store takes no writes
-- effect   writes each bucket that permits were taken from, a record of each grant that has one, once, and reservations;
--          nothing at all where the store refuses the first write
-- cost     O(keys + buckets of all requests), and for logs, holds and promises their entries; one cell

local REFUSED, ALLOWED, REPLAYED, REUSED, UNRECORDED, UNSTORED = 0, 1, 2, 3, 4, 5
local TAKE, RECALL, COUNT = 1, 2, 3
local MAX_ROUNDS = 64
local NO_TERMS = {0, 0, '', 0, 0, ''}

--@include buckets
--@include records

local now_us = tonumber(ARGV[1]) or server_us()
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
local reservations -- {index of the record, when it ends}, of those that were made
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

local function rule_at(at)
  return rules[requests[at + 1]]
end

local function take(at, permits, holder)
  return take_from(state(requests[at]), permits, rule_at(at), now_us, holder)
end

-- Ask the `count` buckets from requests[at] for permits, 0 to look, and write down what each says; returns whether all
-- allow it, but for those on trial. Takes nothing yet.
local function ask(at, count, permits, holder)
  local all = true
  for bucket = 1, count do
    local allowed, remaining, reset_us, retry_us, value = take(at + 2 * bucket - 2, permits, holder)
    all = all and (allowed or rules[requests[at + 2 * bucket - 1]][6] == 1)
    after[bucket], resets_us[bucket] = allowed and (value or ''), reset_us
    reply[filled + 1], reply[filled + 2] = allowed and 1 or 0, remaining
    reply[filled + 3], reply[filled + 4] = reset_us, retry_us
    filled = filled + 4
  end
  return all
end

-- Write down what a bucket says about permits, 0 to look, in place of what it said before.
local function say_again(at, count, bucket, permits, holder)
  local entry = filled - 4 * count + 4 * bucket - 4
  local allowed, remaining, reset_us, retry_us = take(at + 2 * bucket - 2, permits, holder)
  reply[entry + 1], reply[entry + 2] = allowed and 1 or 0, remaining
  reply[entry + 3], reply[entry + 4] = reset_us, retry_us
end

-- Permits were not taken after all: write down what the `count` buckets that would have given them hold as they stand.
local function look_again(at, count)
  local first = filled - 4 * count
  for bucket = 1, count do
    if reply[first + 4 * bucket - 3] == 1 then
      say_again(at, count, bucket, 0)
    end
  end
end

-- The answer that the request's id already has, if any, the permits granted, and how many us from now they begin, or
-- began where they were held.
local function recall(record, fingerprint)
  local value = record > 0 and state(record)
  local deadline, permits, owner, rest = string.match(value or '', '^(%d+):(%d+):(%x+)(.*)$')
  if not deadline or now_us >= tonumber(deadline) then
    return nil
  end
  local start = tonumber(string.match(rest, '^|%d+:(%d+)|') or now_us)
  return owner == fingerprint and REPLAYED or REUSED, tonumber(permits), start - now_us
end

-- Write the grant down: for whom asks again, and, where it is held, for whom settles it.
local function keep(at, permits, wait_us, terms)
  local record, fingerprint, count = requests[at + 2], requests[at + 3], requests[at + 5]
  if record == 0 then
    return
  end
  local life_us = math.max(RECORD_US, wait_us + terms[4])
  local text = string.format('%d:%d:%s', now_us + life_us, permits, fingerprint)
  if terms[3] ~= '' or wait_us > 0 then
    local parts = {text, string.format('%d:%d', now_us + wait_us + terms[4], now_us + wait_us)}
    for bucket = 1, terms[3] ~= '' and count or 0 do
      local rule, key = rule_at(at + 4 + 2 * bucket), KEYS[requests[at + 4 + 2 * bucket]]
      if after[bucket] and (ALGORITHMS[rule[1]].settle or ALGORITHMS[rule[1]].release) then
        local entry = string.format('%s=%s:%.0f:%.0f:%.0f:%.0f', key, rule[1], rule[2], rule[3], rule[4], rule[5])
        parts[#parts + 1] = terms[5] > 0 and rule[7] == 1 and entry .. '!' or entry
      end
    end
    if terms[6] ~= '' then
      parts[#parts + 1] = '@' .. terms[6]
    end
    text = table.concat(parts, '|') .. '|'
  end
  change(record, text, life_us)
  if terms[5] > 0 then
    reservations[#reservations + 1] = {record, now_us + terms[5]}
  end
end

-- The first time that suits all buckets, not after the longest wait; queues make wait without being asked to.
local function find_start(at, count, permits, wait_us)
  local asked, longest_us = {}, wait_us
  for bucket = 1, count do
    local entry = at + 2 * bucket - 2
    local rule = rule_at(entry)
    if rule[6] == 0 then
      local ends, own = open_state(state(requests[entry]))
      asked[#asked + 1] = {rule = rule, ends = ends, own = own, earliest = ALGORITHMS[rule[1]].earliest}
      if rule[1] == 'leaky_bucket' then
        local turn_us = leaky_bucket.earliest(own, permits, rule, math.max(now_us, ends), now_us)
        longest_us = math.max(longest_us, (turn_us or now_us) - now_us)
      end
    end
  end
  if longest_us <= 0 then
    return nil
  end
  local start_us = now_us
  for _ = 1, MAX_ROUNDS do
    local settled_us = start_us
    for _, each in ipairs(asked) do
      local next_us = each.earliest
        and each.earliest(each.own, permits, each.rule, math.max(start_us, each.ends), now_us)
      if not next_us or next_us - now_us > longest_us then
        return nil
      end
      start_us = next_us
    end
    if start_us == settled_us then
      return start_us
    end
  end
  return nil
end

local function book(at, count, permits, start_us)
  for bucket = 1, count do
    local entry = at + 2 * bucket - 2
    local rule, value = rule_at(entry), after[bucket]
    if rule[6] == 0 then
      local ends, own = open_state(state(requests[entry]))
      value = blocked_state(ALGORITHMS[rule[1]].book(own, permits, rule, start_us, now_us), ends, now_us)
      after[bucket] = value
    end
    if value and value ~= '' then
      local _, _, reset_us = take_from(value, 0, rule, now_us)
      change(requests[entry], value, kept_us(value, rule, now_us, reset_us))
    end
  end
end

local function say_booked(at, count)
  for bucket = 1, count do
    if rules[requests[at + 2 * bucket - 1]][6] == 0 or reply[filled - 4 * count + 4 * bucket - 3] == 1 then
      say_again(at, count, bucket, 0)
    end
  end
end

-- Fewer permits than wanted that all buckets have; 1 where they have none, which is then refused.
local function left_for_all(at, count, permits)
  for bucket = 1, count do
    if rule_at(at + 2 * bucket - 2)[6] == 0 then
      local _, remaining = take(at + 2 * bucket - 2, 0)
      permits = math.min(permits, remaining)
    end
  end
  return math.max(1, permits)
end

-- A refused request counts where the rule says so: as much as was wanted, or is left.
local function count_denied(at, count, permits, holder)
  for bucket = 1, count do
    local entry = at + 2 * bucket - 2
    local rule = rule_at(entry)
    if rule[7] == 1 then
      local _, remaining = take(entry, 0)
      local wanted = math.min(permits, remaining)
      if wanted > 0 then
        local counted, _, reset_us, _, value = take(entry, wanted, holder)
        if counted and value then
          change(requests[entry], value, reset_us)
        end
        local allowed = reply[filled - 4 * count + 4 * bucket - 3] == 1
        say_again(at, count, bucket, allowed and 0 or permits, holder)
      end
    end
  end
end

local function decide(at, writable, permits, terms)
  local mode, count, buckets = requests[at], requests[at + 5], at + 6
  local head = filled
  local all = ask(buckets, count, permits, terms[3])
  if all and writable and mode == TAKE then
    for bucket = 1, count do
      local value = after[bucket]
      local entry = buckets + 2 * bucket - 2
      if value and value ~= '' then
        change(requests[entry], value, kept_us(value, rule_at(entry), now_us, resets_us[bucket]))
      end
    end
    keep(at, permits, 0, terms)
    return ALLOWED, permits, 0
  end
  local start_us = not all and mode ~= COUNT and find_start(buckets, count, permits, terms[1])
  if start_us and writable and mode == TAKE then
    book(buckets, count, permits, start_us)
    say_booked(buckets, count)
    keep(at, permits, start_us - now_us, terms)
    return ALLOWED, permits, start_us - now_us
  end
  if start_us then
    say_booked(buckets, count)
    return mode == TAKE and UNSTORED or ALLOWED, 0, start_us - now_us
  end
  look_again(buckets, count)
  if mode == COUNT then
    if writable then
      count_denied(buckets, count, permits, terms[3])
    end
    return REFUSED, 0, 0
  end
  if all then
    return mode == TAKE and UNSTORED or ALLOWED, 0, 0
  end
  if terms[2] == 1 and permits > 1 then
    filled = head
    local fewer = left_for_all(buckets, count, permits)
    return decide(at, writable, fewer, {0, 0, terms[3], terms[4], terms[5], terms[6]})
  end
  if writable and mode == TAKE then
    count_denied(buckets, count, permits, terms[3])
  end
  return REFUSED, 0, 0
end

local function answer(at, writable)
  local mode, permits, record = requests[at], requests[at + 1], requests[at + 2]
  local terms = requests[at + 4] > 0 and batch.terms[requests[at + 4]] or NO_TERMS
  local known, granted, wait_us = recall(record, requests[at + 3])
  if mode == RECALL and not known then
    known = UNRECORDED
  end
  if known then
    ask(at + 6, requests[at + 5], 0)
    return known, granted or 0, wait_us or 0
  end
  return decide(at, writable, permits, terms)
end

local function decide_all(writable)
  changed, lives_us, dirty, reservations = {}, {}, {}, {}
  reply, filled = {}, 0
  local at = 1
  while at <= #requests do
    local head = filled
    filled = head + 3
    reply[head + 1], reply[head + 2], reply[head + 3] = 0, 0, 0 -- keeps the list dense
    reply[head + 1], reply[head + 2], reply[head + 3] = answer(at, writable)
    at = at + 6 + 2 * requests[at + 5]
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
for _, made in ipairs(reservations) do
  redis.call('ZADD', reserved_key(KEYS[made[1]]), string.format('%d', made[2]), KEYS[made[1]])
end
return reply
