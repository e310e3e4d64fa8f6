-- reconcile_indexes: entries of indexes whose job is in another state, or gone, are taken out.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  entries_max  entries looked at, about
-- ARGV[3]... six an index: its key without the cell's prefix and colon; kind (leases, timers, finished, dead, dead_of,
--          listed, ready), queue, tenant, lane (each empty where the kind has none), cursor (0 at first)
--
-- returns  {indexes that were read to their end, cursor of the next one, kind, number of repairs, kind, number, ...}; kinds as
--          above, with `stale_` before
-- effect   as said; a lane that is empty now leaves the race
-- cost     O(1) an entry
--@include prelude
--@include lanes
--@include repairs

local left = tonumber(ARGV[2])
local TERMINAL = {[SUCCEEDED] = true, [DEAD] = true, [CANCELLED] = true}
local WAITING = {[SCHEDULED] = true, [READY] = true}

local function state_of(ref)
  return redis.call('HGET', job_key(ref), 'state')
end

local belongs = {}  -- by kind, whether an entry is where it should be

function belongs.leases(_, ref)
  return state_of(ref) == LEASED
end

function belongs.timers(_, member)
  local job = redis.call('HMGET', job_key(string.sub(member, 2)), 'state', 'expires')
  if string.sub(member, 1, 1) == 'r' then
    return job[1] == SCHEDULED
  end
  return WAITING[job[1]] and job[2]
end

function belongs.finished(_, ref)
  return TERMINAL[state_of(ref)]
end

function belongs.dead(_, ref)
  return state_of(ref) == DEAD
end

function belongs.dead_of(index, tail)
  return state_of(index.refs .. tail) == DEAD
end

function belongs.listed(index, tail)
  return state_of(index.refs .. tail)
end

function belongs.ready(index, tail)
  local job = redis.call('HMGET', job_key(index.refs .. tail), 'state', 'level', 'lane')
  return job[1] == READY and job[2] == index.level and (job[3] or '') == index.lane
end

local function leave(index, members)
  redis.call('ZREM', index.key, unpack(members))
  repaired('stale_' .. index.kind, #members)
  if index.kind == 'ready' and redis.call('EXISTS', index.key) == 0 then
    lane_leave(queue_key(index.queue), index.level, index.tenant, index.lane)
  end
end

-- Check some entries; the cursor to go on with.
local function check(index, cursor)
  local found = redis.call('ZSCAN', index.key, cursor, 'COUNT', math.max(1, left))
  local stale = {}
  for i = 1, #found[2], 2 do
    if not belongs[index.kind](index, found[2][i]) then
      stale[#stale + 1] = found[2][i]
    end
  end
  for from = 1, #stale, 500 do
    leave(index, {unpack(stale, from, math.min(from + 499, #stale))})
  end
  left = left - #found[2] / 2 - 1
  return found[1]
end

local done, cursor = 0, '0'
for at = 3, #ARGV, 6 do
  local index = {key = cell .. ':' .. ARGV[at], kind = ARGV[at + 1], queue = ARGV[at + 2], tenant = ARGV[at + 3],
    lane = ARGV[at + 4], refs = ARGV[at + 3] .. '/' .. ARGV[at + 2] .. '/', level = string.match(ARGV[at], ':ready:(%d)')}
  cursor = ARGV[at + 5]
  repeat
    cursor = check(index, cursor)
  until cursor == '0' or left <= 0
  if cursor ~= '0' then
    break
  end
  done = done + 1
  if left <= 0 then
    break
  end
end
return report({done, cursor})
