-- sliding_window_log: at most `limit` permits in any period (same steps as domain/sliding_window_log.py).
--
-- state    at:taken,at:taken, oldest first
-- rule     {'sliding_window_log', limit, period us, 0, 0}; limit <= 1,000
-- cost     O(entries) once a bucket and script; entries <= limit

-- By rule and state. Time stands still in a script, so whatever it takes joins one entry, the tail; what comes before
-- is read once: times, takes, count, and the text of it. `taken` is the sum of all, `at` and `tail` are of the tail.
local logs = {}

local function read_log(state, period_us, now_us)
  local times, takes, count, taken, starts = {}, {}, 0, 0, {}
  for start, at, permits in string.gmatch(state, '()(%d+):(%d+)') do
    at, permits = tonumber(at), tonumber(permits)
    if at + period_us > now_us then
      count, taken = count + 1, taken + permits
      times[count], takes[count], starts[count] = at, permits, start
    end
  end
  local log = {times = times, takes = takes, count = count, taken = taken, at = now_us, tail = 0, text = ''}
  if count > 0 and times[count] >= now_us then
    log.at, log.tail, log.count = times[count], takes[count], count - 1
    times[count], takes[count] = nil, nil
  end
  if log.count > 0 then
    log.text = string.sub(state, starts[1], (starts[log.count + 1] or #state + 2) - 2) .. ','
  end
  return log
end

local function log_of(state, rule, now_us)
  local known = logs[rule] or {}
  logs[rule] = known
  known[state] = known[state] or read_log(state, rule[3], now_us)
  return known[state]
end

local sliding_window_log = {}

-- Returns allowed, remaining, reset_after_us, retry_after_us, state after it.
function sliding_window_log.take(state, permits, rule, now_us)
  local limit, period_us = rule[2], rule[3]
  local log = log_of(state or '', rule, now_us)
  local newest = log.tail > 0 and log.at or log.times[log.count]
  local reset_us = newest and newest + period_us - now_us or 0
  local remaining = limit - log.taken
  local missing = permits - remaining
  if missing > 0 then
    local entry = 0
    repeat
      entry = entry + 1
      missing = missing - (log.takes[entry] or log.tail)
    until missing <= 0
    return false, math.max(0, remaining), reset_us, (log.times[entry] or log.at) + period_us - now_us, state
  end
  if permits == 0 then
    return true, remaining, reset_us, 0, state
  end
  local after = {times = log.times, takes = log.takes, count = log.count, text = log.text, at = log.at}
  after.tail, after.taken = log.tail + permits, log.taken + permits
  state = string.format('%s%d:%d', after.text, after.at, after.tail)
  logs[rule][state] = after
  return true, remaining - permits, after.at + period_us - now_us, 0, state
end

-- The state when a grant of start_us cost `more` permits than it took, or if negative fewer; nil: the log is empty.
function sliding_window_log.settle(state, more, rule, start_us, now_us)
  local entries, sought = {}, start_us + rule[3] > now_us
  for at, permits in string.gmatch(state or '', '(%d+):(%d+)') do
    at, permits = tonumber(at), tonumber(permits)
    if at + rule[3] > now_us then
      if sought and at >= start_us then
        permits, sought = math.max(0, permits + more), false
      end
      if permits > 0 then
        entries[#entries + 1] = string.format('%d:%d', at, permits)
      end
    end
  end
  return entries[1] and table.concat(entries, ',') or nil
end
