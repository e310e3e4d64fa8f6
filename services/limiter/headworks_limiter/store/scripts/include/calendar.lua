-- calendar: permits that a bucket has promised for later (same steps as domain/calendar.py, which says what all means).
--
-- A level is {at = us, level = units, times = {us}, units = {units}}, the promises in the order of time.

local MAX_BOOKINGS = 200

local function ceil_div(dividend, divisor)
  return math.ceil(dividend / divisor) -- exact below 2^53
end

local function advance(now, to_us, rate)
  local at, level, times, units = now.at, now.level, {}, {}
  for index, time in ipairs(now.times) do
    if time <= to_us then
      level = math.max(0, level - math.max(0, time - at) * rate) + now.units[index]
      at = math.max(at, time)
    else
      times[#times + 1], units[#units + 1] = time, now.units[index]
    end
  end
  return {at = to_us, level = math.max(0, level - (to_us - at) * rate), times = times, units = units}
end

local function read_level(state, permit_units, most, rate, now_us)
  local now = {at = now_us, level = 0, times = {}, units = {}}
  if not state then
    return now
  end
  local at, level, stored_units, tail = string.match(state, '^(%d+):(%d+):(%d+)/?(.*)$')
  now.at, now.level, stored_units = tonumber(at), tonumber(level), tonumber(stored_units)
  for time, units in string.gmatch(tail, '(%d+):(%d+)') do
    now.times[#now.times + 1], now.units[#now.units + 1] = tonumber(time), tonumber(units)
  end
  if stored_units ~= permit_units then
    now.level = math.min(ceil_div(now.level, stored_units), most) * permit_units
    for index, units in ipairs(now.units) do
      now.units[index] = ceil_div(units, stored_units) * permit_units
    end
  end
  now.level = math.min(now.level, most * permit_units)
  return advance(now, math.max(now.at, now_us), rate)
end

local function write_level(now, permit_units)
  local text = string.format('%d:%d:%d', now.at, now.level, permit_units)
  local promises = {}
  for index, time in ipairs(now.times) do
    promises[index] = string.format('%d:%d', time, now.units[index])
  end
  return promises[1] and text .. '/' .. table.concat(promises, ',') or text
end

local function owed(now)
  local sum = now.level
  for _, units in ipairs(now.units) do
    sum = sum + units
  end
  return sum
end

local function room(now, capacity, rate)
  local least, promised = capacity - now.level, 0
  for index, time in ipairs(now.times) do
    promised = promised + now.units[index]
    least = math.min(least, capacity - now.level - promised + (time - now.at) * rate)
  end
  return least
end

local function fits(now, units, capacity, rate)
  local level = now.level + units
  if level > (capacity > 0 and capacity or units) then
    return false
  end
  for index, time in ipairs(now.times) do
    local booked = now.units[index]
    level = level + booked
    if level - (time - now.at) * rate > (capacity > 0 and capacity or booked) then
      return false
    end
  end
  return true
end

local function first_start(now, units, capacity, rate)
  local bound = capacity > 0 and capacity or units
  while now.times[1] do
    local time = now.at + math.max(0, ceil_div(now.level + units - bound, rate))
    local following = now.times[1]
    if time < following and fits(advance(now, time, rate), units, capacity, rate) then
      return time
    end
    now = advance(now, following, rate)
  end
  return now.at + math.max(0, ceil_div(now.level + units - bound, rate))
end

local function drained(now, units, rate)
  while now.times[1] do
    local over = owed(now) - units
    local time, following = now.at + math.max(0, ceil_div(over, rate)), now.times[1]
    if time < following and over <= now.level then
      return time
    end
    now = advance(now, following, rate)
  end
  return now.at + math.max(0, ceil_div(now.level - units, rate))
end

local function promise(now, time, units)
  local place = 1
  while now.times[place] and now.times[place] <= time do
    place = place + 1
  end
  table.insert(now.times, place, time)
  table.insert(now.units, place, units)
end

local function withdraw(now, time, units)
  for place = #now.times, 1, -1 do
    if now.times[place] == time and units > 0 then
      local less = math.min(units, now.units[place])
      units, now.units[place] = units - less, now.units[place] - less
      if now.units[place] == 0 then
        table.remove(now.times, place)
        table.remove(now.units, place)
      end
    end
  end
end
