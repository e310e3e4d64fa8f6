-- adaptive: permits that are held at a time, as many as reports allow (same steps as domain/adaptive.py).
--
-- state    milli/holder:until:permits,holder:until:permits, with ~usual behind milli where latency is learnt
-- rule     {'adaptive', least, most, ttl us, latency us, or -1: to be learnt}; most <= 1,000
-- cost     O(holds); holds <= most

--@include holds

local adaptive = {}

local LEARN, USUAL_OF, PROBING, LONGEST_US = -1, 100, 4, 600000000

local function read_adaptive(state, rule, now_us)
  local milli, usual, text = string.match(state or '', '^(%d+)~?(%d*)/(.*)$')
  milli = math.min(rule[3] * 1000, math.max(rule[2] * 1000, tonumber(milli) or rule[3] * 1000))
  return milli, rule[5] == LEARN and tonumber(usual) or 0, read_holds(text or '', now_us)
end

local function write_adaptive(milli, usual, holds)
  return string.format('%d%s/%s', milli, usual > 0 and string.format('~%.0f', usual) or '', write_holds(holds))
end

-- Returns allowed, remaining, reset_after_us, retry_after_us, state after it.
function adaptive.take(state, permits, rule, now_us, holder)
  local milli, usual, holds = read_adaptive(state, rule, now_us)
  local limit = math.floor(milli / 1000)
  local free = limit - held(holds)
  if permits > free then
    local wait_us = free_in(holds, permits - free, now_us)
    wait_us = permits > limit and math.max(wait_us, 1000000) or wait_us
    return false, math.max(0, free), reset_in(holds, now_us), wait_us, state
  end
  if permits == 0 then
    return true, math.max(0, free), reset_in(holds, now_us), 0, state
  end
  holds[#holds + 1] = {holder, now_us + rule[4], permits}
  return true, free - permits, reset_in(holds, now_us), 0, write_adaptive(milli, usual, holds)
end

-- The state without what this one holds.
function adaptive.release(state, rule, now_us, holder)
  local milli, usual, holds = read_adaptive(state, rule, now_us)
  return write_adaptive(milli, usual, released(holds, holder))
end

-- The state when this one holds on; nil: it holds nothing any more.
function adaptive.renew(state, rule, now_us, holder)
  local milli, usual, holds = read_adaptive(state, rule, now_us)
  return renewed(holds, holder, now_us + rule[4]) and write_adaptive(milli, usual, holds) or nil
end

local function followed(milli, usual, sample, rule)
  local ratio = math.max(500, math.min(1000, math.floor(usual * 1500 / sample)))
  local wanted = math.floor(milli * ratio / 1000) + PROBING * 1000
  return math.min(rule[3] * 1000, math.max(rule[2] * 1000, milli + math.floor((wanted - milli) * 200 / milli)))
end

-- The state after an answer of this kind came in so many microseconds.
function adaptive.report(state, kind, latency_us, rule, now_us)
  local milli, usual, holds = read_adaptive(state, rule, now_us)
  local slow = rule[5] > 0 and latency_us > rule[5]
  if kind == OVERLOAD or kind == FAILURE or slow then
    milli = math.max(rule[2] * 1000, math.floor(milli * 9 / 10))
  elseif kind == OK and rule[5] == LEARN and latency_us > 0 then
    local sample = math.min(latency_us, LONGEST_US) * 1000
    local span = math.max(USUAL_OF, math.floor(milli / 100))
    usual = usual > 0 and usual + math.floor((sample - usual) / span) or sample
    usual = usual > 2 * sample and math.floor(usual * 95 / 100) or usual
    milli = 2000 * held(holds) >= milli and followed(milli, usual, sample, rule) or milli
  elseif kind == OK and 2000 * held(holds) >= milli then
    milli = math.min(rule[3] * 1000, milli + math.floor(1000000 / milli))
  end
  return write_adaptive(milli, usual, holds)
end

-- How long to keep a state beyond its reset: what was learnt for a day.
function adaptive.keep(state, rule, now_us)
  local milli, usual = read_adaptive(state, rule, now_us)
  return (milli < rule[3] * 1000 or usual > 0) and KEPT_US or 0
end
