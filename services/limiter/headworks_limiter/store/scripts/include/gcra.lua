-- gcra: permits come back evenly (same steps as domain/gcra.py, which says what the numbers mean).
--
-- state    at:level:permit_units, and where permits are promised for later /at:units,at:units
-- rule     {'gcra', permit_units, us_units, burst, 0}; burst * permit_units < 2^53

--@include calendar

local gcra = {}

-- Returns allowed, remaining, reset_after_us, retry_after_us, state after it.
function gcra.take(state, permits, rule, now_us)
  local permit_units, us_units, burst = rule[2], rule[3], rule[4]
  local capacity = burst * permit_units
  local at, level = now_us, 0
  if state then
    local stored_at, stored_level, stored_units = string.match(state, '^(%d+):(%d+):(%d+)$')
    if not stored_at then
      return gcra.take_beside_promises(state, permits, rule, now_us)
    end
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

function gcra.take_beside_promises(state, permits, rule, now_us)
  local permit_units, us_units, capacity = rule[2], rule[3], rule[4] * rule[2]
  local level = read_level(state, permit_units, rule[4], us_units, now_us)
  local free, wanted = room(level, capacity, us_units), permits * permit_units
  local allowed, retry_after_us = permits == 0 or wanted <= free, 0
  if not allowed then
    retry_after_us = first_start(level, wanted, capacity, us_units) - now_us
  elseif permits > 0 then
    level.level, free = level.level + wanted, free - wanted
    state = write_level(level, permit_units)
  end
  local remaining = math.floor(math.max(0, free) / permit_units)
  return allowed, remaining, drained(level, 0, us_units) - now_us, retry_after_us, state
end

-- The first time, from_us or later, for which permits can be promised; nil: too much is already.
function gcra.earliest(state, permits, rule, from_us, now_us)
  local level = read_level(state, rule[2], rule[4], rule[3], now_us)
  if #level.times >= MAX_BOOKINGS then
    return nil
  end
  level = advance(level, math.max(level.at, from_us), rule[3])
  return first_start(level, permits * rule[2], rule[4] * rule[2], rule[3])
end

-- The state after permits were promised for a time that `earliest` gave.
function gcra.book(state, permits, rule, start_us, now_us)
  local level = read_level(state, rule[2], rule[4], rule[3], now_us)
  promise(level, start_us, permits * rule[2])
  return write_level(level, rule[2])
end

-- The state when a grant that began at start_us cost `more` permits than it took, or if negative fewer.
function gcra.settle(state, more, rule, start_us, now_us)
  local level = read_level(state, rule[2], rule[4], rule[3], now_us)
  local units = math.abs(more) * rule[2]
  if more > 0 then
    level.level = math.min(rule[4] * rule[2], level.level + units)
  elseif start_us > level.at then
    withdraw(level, start_us, units)
  else
    local back = math.max(0, units - (level.at - start_us) * rule[3])
    level.level = math.max(0, level.level - back)
  end
  return write_level(level, rule[2])
end
