-- buckets: the algorithms behind one face (same steps as domain/algorithms.py).
--
-- A rule is a list: its algorithm, four thresholds (see the includes), shadow 0|1, count_denied 0|1. Where an upstream
-- wants to be left alone until a time, `!until|` stands before the bucket's own state.

local OK, OVERLOAD, FAILURE = 0, 1, 2
local MARGIN_US = 60000000 -- a TTL collects garbage; the minute keeps it from ever deciding
local RECORD_US = 600000000
local KEPT_US = 86400000000 -- what was learnt of upstreams

--@include gcra
--@include leaky_bucket
--@include token_bucket
--@include fixed_window
--@include sliding_window_log
--@include sliding_window_counter
--@include concurrency
--@include adaptive
--@include circuit_breaker

local ALGORITHMS = {gcra = gcra, leaky_bucket = leaky_bucket, token_bucket = token_bucket, fixed_window = fixed_window,
  sliding_window_log = sliding_window_log, sliding_window_counter = sliding_window_counter, concurrency = concurrency,
  adaptive = adaptive, circuit_breaker = circuit_breaker}

local function open_state(state)
  if not state or string.byte(state) ~= 33 then
    return 0, state
  end
  local ends, own = string.match(state, '^!(%d+)|(.*)$')
  return tonumber(ends), own ~= '' and own or nil
end

local function blocked_state(own, ends, now_us)
  return ends > now_us and string.format('!%d|%s', ends, own or '') or own
end

-- Returns allowed, remaining, reset_after_us, retry_after_us, state after it.
local function take_blocked(state, permits, rule, now_us, holder)
  local ends, own = open_state(state)
  if now_us >= ends then
    return ALGORITHMS[rule[1]].take(own, permits, rule, now_us, holder)
  end
  local _, _, reset_us, retry_us = ALGORITHMS[rule[1]].take(own, permits, rule, ends, holder)
  local wait_us = ends - now_us
  return permits == 0, 0, wait_us + reset_us, permits > 0 and wait_us + retry_us or 0, state
end

local function take_from(state, permits, rule, now_us, holder)
  if state and string.byte(state) == 33 then
    return take_blocked(state, permits, rule, now_us, holder)
  end
  return ALGORITHMS[rule[1]].take(state, permits, rule, now_us, holder)
end

-- How long a state matters that is full again in so many us.
local function kept_us(state, rule, now_us, reset_us)
  local keep = ALGORITHMS[rule[1]].keep
  if not keep then
    return reset_us
  end
  local _, own = open_state(state)
  return math.max(reset_us, own and keep(own, rule, now_us) or 0)
end

-- How long a state has to be kept, in ms.
local function life_of(state, rule, now_us)
  local _, _, reset_us = take_from(state, 0, rule, now_us)
  return math.ceil((kept_us(state, rule, now_us, reset_us) + MARGIN_US) / 1000)
end

local function server_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
