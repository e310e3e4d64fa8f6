-- prelude: what every script of the scheduler begins with.
--
-- KEYS[1] is the cell's prefix, {hw:<cell>}; every other key is made from it and so lives in the same hash slot.
-- ARGV[1] is now_us: us since the epoch, "" for the server's own clock.

local cell = KEYS[1]
local now_us = tonumber(ARGV[1])
if not now_us then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
end

local SCHEDULED, READY, LEASED, SUCCEEDED, DEAD, CANCELLED = '1', '2', '3', '4', '5', '6'

-- Integers over 14 digits lose some in tostring().
local function int(number)
  return string.format('%d', number)
end

local function job_key(ref)
  return cell .. ':job:' .. ref
end

-- tenant, queue, tail of a ref
local function parts(ref)
  return string.match(ref, '^([^/]+)/([^/]+)/(.+)$')
end

local function queue_of(ref)
  return string.match(ref, '^[^/]+/([^/]+)/')
end

local function queue_key(queue)
  return cell .. ':q:' .. queue
end

-- Counters of a queue: collected here, written once by count_flush.
local counts = {}
local function count(queue, field, by)
  local of_queue = counts[queue]
  if not of_queue then
    of_queue = {}
    counts[queue] = of_queue
  end
  of_queue[field] = (of_queue[field] or 0) + by
end

local function count_waiting(queue, tenant, by)
  count(queue, 'waiting', by)
  count(queue, 'waiting:' .. tenant, by)
end

local function count_ready(queue, level, by)
  count(queue, 'ready:' .. level, by)
end

local function count_flush()
  for queue, fields in pairs(counts) do
    local key = queue_key(queue) .. ':counts'
    for field, by in pairs(fields) do
      if by ~= 0 and redis.call('HINCRBY', key, field, by) == 0 then
        redis.call('HDEL', key, field)  -- an idle queue or tenant costs nothing
      end
    end
  end
end
