-- fixed_window: permits that come back at the end of a window (same steps as domain/fixed_window.py).
--
-- state    end:taken
-- rule     {'fixed_window', limit, period us, period months, origin_us of the calendar; -1: the first permit begins it}

--@include periods

local fixed_window = {}

local function window_end(at_us, rule)
  if rule[5] < 0 then
    return end_after(at_us, rule[3], rule[4])
  end
  return calendar_end(at_us, rule[3], rule[4], rule[5])
end

-- Returns allowed, remaining, reset_after_us, retry_after_us, state after it.
function fixed_window.take(state, permits, rule, now_us)
  local limit = rule[2]
  local end_us, taken = 0, 0
  if state then
    local stored_end, stored_taken = string.match(state, '^(%d+):(%d+)$')
    end_us, taken = tonumber(stored_end), tonumber(stored_taken)
    if now_us >= end_us then
      end_us, taken = 0, 0
    end
  end
  local allowed = permits <= limit - taken
  if allowed and permits > 0 then
    taken = taken + permits
    if end_us == 0 then
      end_us = window_end(now_us, rule)
    end
    state = string.format('%d:%d', end_us, taken)
  end
  local left_us = end_us - now_us
  return allowed, math.max(0, limit - taken), taken > 0 and left_us or 0, allowed and 0 or left_us, state
end

-- The state when a grant of start_us cost `more` permits than it took, or if negative fewer.
function fixed_window.settle(state, more, rule, start_us, now_us)
  local end_us, taken = string.match(state or '0:0', '^(%d+):(%d+)$')
  end_us = tonumber(end_us)
  if now_us >= end_us or start_us >= end_us or window_end(start_us, rule) < end_us then
    return state
  end
  return string.format('%d:%d', end_us, math.max(0, taken + more))
end
