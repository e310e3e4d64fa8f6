-- fixed_window: permits that come back at the end of a window (same steps as domain/fixed_window.py).
--
-- state    end:taken
-- rule     {'fixed_window', limit, period us, period months, origin_us of the calendar; -1: the first permit begins it}
-- returns  allowed, remaining, reset_after_us, retry_after_us, state after it

--@include periods

local function fixed_window(state, permits, rule, now_us)
  local limit, origin_us = rule[2], rule[5]
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
    if end_us == 0 and origin_us < 0 then
      end_us = end_after(now_us, rule[3], rule[4])
    elseif end_us == 0 then
      end_us = calendar_end(now_us, rule[3], rule[4], origin_us)
    end
    state = string.format('%d:%d', end_us, taken)
  end
  local left_us = end_us - now_us
  return allowed, math.max(0, limit - taken), taken > 0 and left_us or 0, allowed and 0 or left_us, state
end
