-- leaky_bucket: permits leave one by one, and wait their turn (same steps as domain/leaky_bucket.py).
--
-- state    as gcra's
-- rule     {'leaky_bucket', permit_units, us_units, queue, 0}; queue * permit_units < 2^53

--@include calendar

local leaky_bucket = {}

local function leaky_level(state, rule, now_us)
  return read_level(state, rule[2], rule[4], rule[3], now_us)
end

-- Returns allowed at once, remaining, reset_after_us, retry_after_us, state after it.
function leaky_bucket.take(state, permits, rule, now_us)
  local permit_units, rate = rule[2], rule[3]
  local level, wanted = leaky_level(state, rule, now_us), permits * permit_units
  local free = rule[4] * permit_units - owed(level)
  local at_once = wanted <= free and level.at <= now_us and fits(level, 1, level.at, level.level, wanted, 0, rate)
  local allowed, retry_after_us = permits == 0 or at_once, 0
  if not allowed and wanted > free then
    retry_after_us = drained(level, rule[4] * permit_units - wanted, rate) - now_us
  elseif not allowed then
    retry_after_us = math.max(1, first_start(level, wanted, 0, rate) - now_us)
  elseif permits > 0 then
    level.level, free = level.level + wanted, free - wanted
    state = write_level(level, permit_units)
  end
  local remaining = math.floor(math.max(0, free) / permit_units)
  return allowed, remaining, drained(level, 0, rate) - now_us, retry_after_us, state
end

-- The first time, from_us or later, at which it is the turn of permits; nil: the queue is full.
function leaky_bucket.earliest(state, permits, rule, from_us, now_us)
  local level, wanted = leaky_level(state, rule, now_us), permits * rule[2]
  if owed(level) + wanted > rule[4] * rule[2] or #level.times >= MAX_BOOKINGS then
    return nil
  end
  level = advance(level, math.max(level.at, from_us), rule[3])
  return first_start(level, wanted, 0, rule[3])
end

-- The state after permits joined the queue, to leave at a time that `earliest` gave.
function leaky_bucket.book(state, permits, rule, start_us, now_us)
  local level, wanted = leaky_level(state, rule, now_us), permits * rule[2]
  if level.times[1] or start_us > level.at + ceil_div(level.level, rule[3]) then
    promise(level, start_us, wanted)
  else
    level.level = level.level + wanted
  end
  return write_level(level, rule[2])
end

-- The state when a grant that leaves at start_us cost `more` permits than it took, or if negative fewer.
function leaky_bucket.settle(state, more, rule, start_us, now_us)
  local level = leaky_level(state, rule, now_us)
  local units, last = math.abs(more) * rule[2], level.times[#level.times]
  if more > 0 then
    level.level = math.min(rule[4] * rule[2], level.level + units)
  elseif start_us > level.at and not last then
    if start_us == level.at + ceil_div(level.level - units, rule[3]) then
      level.level = level.level - units
    end
  elseif start_us > level.at and last == start_us then
    withdraw(level, start_us, units)
  end
  return write_level(level, rule[2])
end
