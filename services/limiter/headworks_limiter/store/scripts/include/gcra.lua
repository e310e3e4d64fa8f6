-- gcra: permits come back evenly (same steps as domain/gcra.py, which says what the numbers mean).
--
-- state    at:level:permit_units
-- rule     {'gcra', permit_units, us_units, burst, 0}; burst * permit_units < 2^53
-- returns  allowed, remaining, reset_after_us, retry_after_us, state after it

local function ceil_div(dividend, divisor)
  return math.ceil(dividend / divisor) -- exact below 2^53
end

local function gcra(state, permits, rule, now_us)
  local permit_units, us_units, burst = rule[2], rule[3], rule[4]
  local capacity = burst * permit_units
  local at, level = now_us, 0
  if state then
    local stored_at, stored_level, stored_units = string.match(state, '^(%d+):(%d+):(%d+)$')
    at, level, stored_units = tonumber(stored_at), tonumber(stored_level), tonumber(stored_units)
    if stored_units ~= permit_units then
      level = math.min(ceil_div(level, stored_units), burst) * permit_units
    end
    level = math.min(level, capacity)
    level = math.max(0, level - math.max(0, now_us - at) * us_units)
  end
  local behind_us = math.max(0, at - now_us)
  local missing = level - (capacity - permits * permit_units)
  local retry_after_us = 0
  if missing > 0 then
    retry_after_us = behind_us + ceil_div(missing, us_units)
  elseif permits > 0 then
    level = level + permits * permit_units
    state = string.format('%d:%d:%d', math.max(at, now_us), level, permit_units)
  end
  local remaining = math.floor((capacity - level) / permit_units)
  return missing <= 0, remaining, behind_us + ceil_div(level, us_units), retry_after_us, state
end
