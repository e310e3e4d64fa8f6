-- forget: delete jobs whose retention is over, and the oldest finished ones beyond the caps of queue and cell.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  finished_max  finished jobs that the cell keeps at most
-- ARGV[3]  limit         at most 500
-- ARGV[4]  retention_us  of queues that are not named here
-- ARGV[5]... three a queue: queue, retention_us, finished jobs that it keeps at most (0: as many as the cell)
--
-- returns  how many were deleted
-- effect   removes the jobs and their places in the lists and indexes, those that finished first. An entry whose job has
--          not ended is only taken out
-- cost     O(log n) a job, and O(1) a queue that has finished jobs
--@include prelude

local finished_max, left, deleted = tonumber(ARGV[2]), tonumber(ARGV[3]), 0
local TERMINAL = {[SUCCEEDED] = true, [DEAD] = true, [CANCELLED] = true}
local rules = {}
for at = 5, #ARGV, 3 do
  rules[ARGV[at]] = {tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])}
end

local function each(groups, command, suffix)
  for key, members in pairs(groups) do
    redis.call(command, key .. (suffix or ''), unpack(members))
  end
end

local function add(groups, key, member)
  local members = groups[key] or {}
  groups[key] = members
  members[#members + 1] = member
end

-- Delete the jobs of some entries of an index of finished jobs.
local function delete(index, refs)
  if #refs == 0 then
    return
  end
  local keys, lists, dead, dead_lists = {}, {}, {}, {}
  for _, ref in ipairs(refs) do
    local state = redis.call('HGET', job_key(ref), 'state')
    if not state or TERMINAL[state] then
      local tenant, queue, tail = parts(ref)
      keys[#keys + 1] = job_key(ref)
      add(lists, queue_key(queue) .. ':jobs:' .. tenant, tail)
      if state == DEAD then
        add(dead, queue_key(queue) .. ':dead', ref)
        add(dead_lists, queue_key(queue) .. ':dead:' .. tenant, tail)
      end
    end
  end
  redis.call('ZREM', index, unpack(refs))
  each(lists, 'ZREM')
  each(dead, 'ZREM')
  each(dead_lists, 'ZREM')
  if #keys > 0 then
    redis.call('UNLINK', unpack(keys))
  end
  left, deleted = left - #refs, deleted + #refs
end

-- What a queue may no longer keep; how many finished jobs are left in it.
local function forget_queue(queue)
  local index = queue_key(queue) .. ':finished'
  local rule = rules[queue] or {tonumber(ARGV[4]), 0}
  local size = redis.call('ZCARD', index)
  local surplus = rule[2] > 0 and math.min(left, size - rule[2]) or 0
  local before = deleted
  if surplus > 0 then
    delete(index, redis.call('ZRANGE', index, 0, surplus - 1))
  elseif left > 0 then
    delete(index, redis.call('ZRANGEBYSCORE', index, '-inf', int(now_us - rule[1]), 'LIMIT', 0, left))
  end
  return size - (deleted - before)
end

local queues = redis.call('ZRANGE', cell .. ':ended', 0, -1)
local heads = {}  -- by queue, when its first job finished
local function look(queue)
  local head = redis.call('ZRANGE', queue_key(queue) .. ':finished', 0, 0, 'WITHSCORES')[2]
  heads[queue] = tonumber(head or nil)
end

-- The queue whose first job is the oldest, and until when it is.
local function oldest()
  local first, second
  for _, queue in ipairs(queues) do
    local head = heads[queue]
    if head and (not first or head < heads[first]) then
      first, second = queue, first and heads[first]
    elseif head and (not second or head < second) then
      second = head
    end
  end
  if not second then
    return first, '+inf'
  end
  return first, (second > heads[first] and '(' or '') .. int(second)
end

local total = 0
for _, queue in ipairs(queues) do
  local size = forget_queue(queue)
  total = total + size
  if size == 0 then
    redis.call('ZREM', cell .. ':ended', queue)
  else
    look(queue)
  end
end
while left > 0 and total > finished_max and next(heads) do
  local queue, until_us = oldest()
  local index = queue_key(queue) .. ':finished'
  local n = math.min(left, total - finished_max)
  local refs = redis.call('ZRANGEBYSCORE', index, '-inf', until_us, 'LIMIT', 0, n)
  delete(index, refs)
  total = total - #refs
  look(queue)
  if not heads[queue] then
    redis.call('ZREM', cell .. ':ended', queue)
  end
end

-- Entries that a release before schema 1.1 made, by the time at which they may be forgotten.
if left > 0 then
  delete(cell .. ':finished', redis.call('ZRANGEBYSCORE', cell .. ':finished', '-inf', int(now_us), 'LIMIT', 0, left))
end
return deleted
