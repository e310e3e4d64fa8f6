-- holds: who holds permits, and until when (same steps as domain/holds.py).
--
-- Holds are a list of {holder, until, permits}, oldest first.

local function read_holds(text, now_us)
  local holds = {}
  for holder, ends, permits in string.gmatch(text, '([^:,/]+):(%d+):(%d+)') do
    if tonumber(ends) > now_us then
      holds[#holds + 1] = {holder, tonumber(ends), tonumber(permits)}
    end
  end
  return holds
end

local function write_holds(holds)
  local entries = {}
  for index, hold in ipairs(holds) do
    entries[index] = string.format('%s:%d:%d', hold[1], hold[2], hold[3])
  end
  return table.concat(entries, ',')
end

local function held(holds)
  local sum = 0
  for _, hold in ipairs(holds) do
    sum = sum + hold[3]
  end
  return sum
end

local function free_in(holds, missing, now_us)
  local ends = {}
  for index, hold in ipairs(holds) do
    ends[index] = hold
  end
  table.sort(ends, function(one, other) return one[2] < other[2] end)
  for _, hold in ipairs(ends) do
    missing = missing - hold[3]
    if missing <= 0 then
      return hold[2] - now_us
    end
  end
  return ends[1] and ends[#ends][2] - now_us or 0
end

local function reset_in(holds, now_us)
  local last = now_us
  for _, hold in ipairs(holds) do
    last = math.max(last, hold[2])
  end
  return last - now_us
end

local function released(holds, holder)
  local left = {}
  for _, hold in ipairs(holds) do
    if hold[1] ~= holder then
      left[#left + 1] = hold
    end
  end
  return left
end

local function renewed(holds, holder, ends)
  local found = false
  for _, hold in ipairs(holds) do
    if hold[1] == holder then
      hold[2], found = math.max(hold[2], ends), true
    end
  end
  return found
end
