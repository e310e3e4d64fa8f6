-- sliding_window_counter: two windows, of which the first counts by the share that the last period covers (same steps
-- as domain/sliding_window_counter.py).
--
-- state    start:before:taken
-- rule     {'sliding_window_counter', limit, period us, tick us, ticks}; 3 * limit * ticks < 2^53

-- The first tick of a window at which `before` weighs at most `free`; `ticks`: not in that window.
local function first_tick(before, free, ticks)
  if free < 0 then
    return ticks
  end
  return before <= free and 0 or ticks - math.floor(free * ticks / before)
end

local sliding_window_counter = {}

local function read_counts(state, rule, now_us)
  local limit, period_us = rule[2], rule[3]
  local start, before, taken = now_us - now_us % period_us, 0, 0
  if state then
    local stored_start, stored_before, stored_taken = string.match(state, '^(%d+):(%d+):(%d+)$')
    stored_start, stored_taken = tonumber(stored_start), math.min(tonumber(stored_taken), limit)
    if now_us < stored_start + period_us then
      start, before, taken = stored_start, math.min(tonumber(stored_before), limit), stored_taken
    elseif now_us < stored_start + 2 * period_us then
      start, before = stored_start + period_us, stored_taken
    end
  end
  return start, before, taken
end

-- Returns allowed, remaining, reset_after_us, retry_after_us, state after it.
function sliding_window_counter.take(state, permits, rule, now_us)
  local limit, period_us, tick_us, ticks = rule[2], rule[3], rule[4], rule[5]
  local start, before, taken = read_counts(state, rule, now_us)
  local weight = ticks - math.floor(math.max(0, now_us - start) / tick_us)
  local room = (limit - taken) * ticks - before * weight
  local allowed, retry_after_us = permits * ticks <= room, 0
  if not allowed then
    local tick, until_us = first_tick(before, limit - taken - permits, ticks), 0
    if tick < ticks then
      until_us = tick * tick_us
    else
      tick = first_tick(taken, limit - permits, ticks)
      until_us = period_us + (tick < ticks and tick * tick_us or period_us)
    end
    retry_after_us = start + until_us - now_us
  elseif permits > 0 then
    taken, room = taken + permits, room - permits * ticks
    state = string.format('%d:%d:%d', start, before, taken)
  end
  local windows = taken > 0 and 2 or before > 0 and 1 or 0
  local reset_us = windows > 0 and start + windows * period_us - now_us or 0
  return allowed, math.max(0, math.floor(room / ticks)), reset_us, retry_after_us, state
end

-- The state when a grant of start_us cost `more` permits than it took, or if negative fewer.
function sliding_window_counter.settle(state, more, rule, start_us, now_us)
  local limit, period_us = rule[2], rule[3]
  local start, before, taken = read_counts(state, rule, now_us)
  if start <= start_us and start_us < start + period_us then
    taken = math.min(limit, math.max(0, taken + more))
  elseif start - period_us <= start_us and start_us < start then
    before = math.min(limit, math.max(0, before + more))
  end
  return string.format('%d:%d:%d', start, before, taken)
end
