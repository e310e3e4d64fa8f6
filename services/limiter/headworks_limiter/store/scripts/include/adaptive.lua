-- adaptive: permits that are held at a time, as many as reports allow (same steps as domain/adaptive.py).
--
-- state    milli/holder:until:permits,holder:until:permits
-- rule     {'adaptive', least, most, ttl us, latency us}; most <= 1,000
-- cost     O(holds); holds <= most

--@include holds

local adaptive = {}

local function read_adaptive(state, rule, now_us)
  local milli, text = string.match(state or '', '^(%d+)/(.*)$')
  milli = math.min(rule[3] * 1000, math.max(rule[2] * 1000, tonumber(milli) or rule[3] * 1000))
  return milli, read_holds(text or '', now_us)
end

local function write_adaptive(milli, holds)
  return string.format('%d/%s', milli, write_holds(holds))
end

-- Returns allowed, remaining, reset_after_us, retry_after_us, state after it.
function adaptive.take(state, permits, rule, now_us, holder)
  local milli, holds = read_adaptive(state, rule, now_us)
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
  return true, free - permits, reset_in(holds, now_us), 0, write_adaptive(milli, holds)
end

-- The state without what this one holds.
function adaptive.release(state, rule, now_us, holder)
  local milli, holds = read_adaptive(state, rule, now_us)
  return write_adaptive(milli, released(holds, holder))
end

-- The state when this one holds on; nil: it holds nothing any more.
function adaptive.renew(state, rule, now_us, holder)
  local milli, holds = read_adaptive(state, rule, now_us)
  return renewed(holds, holder, now_us + rule[4]) and write_adaptive(milli, holds) or nil
end

-- The state after an answer of this kind came in so many microseconds.
function adaptive.report(state, kind, latency_us, rule, now_us)
  local milli, holds = read_adaptive(state, rule, now_us)
  local slow = rule[5] > 0 and latency_us > rule[5]
  if kind == OVERLOAD or kind == FAILURE or slow then
    milli = math.max(rule[2] * 1000, math.floor(milli * 9 / 10))
  elseif kind == OK and 2000 * held(holds) >= milli then
    milli = math.min(rule[3] * 1000, milli + math.floor(1000000 / milli))
  end
  return write_adaptive(milli, holds)
end

-- How long to keep a state beyond its reset: what was learnt for a day.
function adaptive.keep(state, rule, now_us)
  return read_adaptive(state, rule, now_us) < rule[3] * 1000 and KEPT_US or 0
end
