-- list: a page of one tenant's jobs in one queue, newest first.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  queue
-- ARGV[3]  tenant
-- ARGV[4]  index      jobs (all, by the time of their submit), dead (by the time of their end), leased (by their submit)
-- ARGV[5]  view       basic (without payload, result and the failure's trace) or full
-- ARGV[6]  size       jobs at most
-- ARGV[7]  scan_max   jobs looked at, at most
-- ARGV[8]  bytes_max  of large fields to be read, at most; the first job is read anyhow
-- ARGV[9]  score      of the last job of the page before; "" for the first page
-- ARGV[10] tail       of that job
-- ARGV[11]... the filter, see include/filter.lua
--
-- returns  {score, tail of the last job that was looked at, "" and "" when that was the last one of all;
--          tail, list of field, value, ... of each job}
-- effect   none
-- cost     O(log n) and O(scan_max). `leased` reads all leases of the cell if they are at most 5,000; otherwise it looks
--          through the jobs
--@include prelude
--@include filter

local queue, tenant, size, left, bytes_left = ARGV[2], ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local full, filter = ARGV[5] == 'full', read_filter(11)
local q, refs = queue_key(queue), tenant .. '/' .. queue .. '/'
local LEASES_MAX, CHUNK = 5000, 200
local BASIC = {'state', 'gen', 'attempts', 'failures', 'lost', 'undelivered', 'lease', 'created', 'started', 'worker',
  'finished', 'due', 'cancel', 'progress', 'spec', 'failure'}
local page, listed = {'', ''}, 0

local function read_basic(key)
  local values, fields = redis.call('HMGET', key, unpack(BASIC)), {}
  for i, name in ipairs(BASIC) do
    local value = values[i]
    if value then
      value = name == 'spec' and without(value, 2) or name == 'failure' and without(value, 3) or value
      fields[#fields + 1], fields[#fields + 2] = name, value
    end
  end
  return fields
end

-- Put a job on the page; false if there is no room for its bytes.
local function show(tail)
  local key = job_key(refs .. tail)
  local bytes = redis.call('HSTRLEN', key, 'spec') + redis.call('HSTRLEN', key, 'failure')
  if full then
    bytes = bytes + redis.call('HSTRLEN', key, 'result')
  end
  if listed > 0 and bytes > bytes_left then
    return false
  end
  bytes_left, listed = bytes_left - bytes, listed + 1
  page[2 * listed + 1], page[2 * listed + 2] = tail, full and redis.call('HGETALL', key) or read_basic(key)
  return true
end

-- Look at some entries {tail, score, tail, score, ...}; true when there is no room for more.
local function look_at(entries)
  for i = 1, #entries, 2 do
    if listed == size or left == 0 or fits(filter, refs .. entries[i]) and not show(entries[i]) then
      return true
    end
    left = left - 1
    page[1], page[2] = entries[i + 1], entries[i]
  end
  return false
end

local function walk(index)
  local rank = rank_after(index, ARGV[9], ARGV[10], true)
  local entries
  repeat
    entries = redis.call('ZREVRANGE', index, rank, rank + CHUNK - 1, 'WITHSCORES')
    if look_at(entries) then
      return
    end
    rank = rank + CHUNK
  until #entries < 2 * CHUNK
  page[1], page[2] = '', ''
end

-- The tenant's leased jobs in this queue, by submit time, and those times.
local function leased_entries(index)
  local tails, times = {}, {}
  for _, ref in ipairs(redis.call('ZRANGE', cell .. ':leases', 0, -1)) do
    if string.sub(ref, 1, #refs) == refs then
      tails[#tails + 1] = string.sub(ref, #refs + 1)
    end
  end
  local found = {}
  for at = 1, #tails, 1000 do
    local scores = redis.call('ZMSCORE', index, unpack(tails, at, math.min(at + 999, #tails)))
    for i, score in ipairs(scores) do
      local time, tail = tonumber(score or nil), tails[at + i - 1]
      if time and (ARGV[9] == '' or time < tonumber(ARGV[9]) or time == tonumber(ARGV[9]) and precedes(tail, ARGV[10])) then
        found[#found + 1] = {time, tail}
        times[#times + 1] = time
      end
    end
  end
  return found, times
end

local function walk_leased(index)
  local found, times = leased_entries(index)
  table.sort(times)
  local since = times[math.max(1, #times - left)]  -- the rest is for other pages: a full sort of all costs too much
  local entries, flat = {}, {}
  for _, entry in ipairs(found) do
    if entry[1] >= since then
      entries[#entries + 1] = entry
    end
  end
  table.sort(entries, function(a, b)
    return a[1] > b[1] or a[1] == b[1] and precedes(b[2], a[2])
  end)
  for i, entry in ipairs(entries) do
    flat[2 * i - 1], flat[2 * i] = entry[2], int(entry[1])
  end
  if not look_at(flat) and #entries == #found then
    page[1], page[2] = '', ''
  end
end

if ARGV[4] == 'dead' then
  walk(q .. ':dead:' .. tenant)
elseif ARGV[4] == 'leased' and redis.call('ZCARD', cell .. ':leases') <= LEASES_MAX then
  walk_leased(q .. ':jobs:' .. tenant)
else
  walk(q .. ':jobs:' .. tenant)
end
return page
