-- stats: how queues are.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  tenant   of whom the own share is told
-- ARGV[3]... queues, at most 20
--
-- returns  a list a queue: waiting, leased, dead, tenants, us that the longest waiting first job of a lane waits or -1,
--          waiting replicas, the tenant's waiting, the tenant's dead, then ready jobs by level, 0 to 9
-- effect   none
-- cost     O(1) a queue, and at most 100 lanes and 5,000 tenants. Beyond those numbers the time is the longest of the
--          first 100 lanes by turn, and the tenants are those of the level that has most
--@include prelude

local LANES_MAX, TENANTS_MAX, LEVELS = 100, 5000, 10

local function tenants_of(q, levels)
  local total, most = 0, 0
  for _, level in ipairs(levels) do
    local n = redis.call('ZCARD', q .. ':tenants:' .. level)
    total, most = total + n, math.max(most, n)
  end
  if #levels <= 1 or total > TENANTS_MAX then
    return most
  end
  local seen, distinct = {}, 0
  for _, level in ipairs(levels) do
    for _, tenant in ipairs(redis.call('ZRANGE', q .. ':tenants:' .. level, 0, -1)) do
      distinct = distinct + (seen[tenant] and 0 or 1)
      seen[tenant] = true
    end
  end
  return distinct
end

-- Since when the first job of a lane waits; nil if it has none.
local function head_since(q, queue, level, tenant, lane)
  local tail = redis.call('ZRANGE', q .. ':ready:' .. level .. ':' .. tenant .. ':' .. lane, 0, 0)[1]
  if tail then
    local times = redis.call('HMGET', job_key(tenant .. '/' .. queue .. '/' .. tail), 'due', 'created')
    return tonumber(times[1] or times[2] or nil)
  end
end

local function longest_wait(q, queue, levels)
  local left, since = LANES_MAX, nil
  for _, level in ipairs(levels) do
    for _, tenant in ipairs(redis.call('ZRANGE', q .. ':tenants:' .. level, 0, left - 1)) do
      local lanes = left > 0 and redis.call('ZRANGE', q .. ':lanes:' .. level .. ':' .. tenant, 0, left - 1) or {}
      for _, lane in ipairs(lanes) do
        since = math.min(since or now_us, head_since(q, queue, level, tenant, lane) or now_us)
      end
      left = left - #lanes
    end
    if left <= 0 then
      break
    end
  end
  return since and now_us - since or -1
end

local function stats(queue, tenant)
  local q, fields = queue_key(queue), {'waiting', 'leased', 'waiting:' .. tenant}
  for level = 0, LEVELS - 1 do
    fields[#fields + 1] = 'ready:' .. level
  end
  local counts = redis.call('HMGET', q .. ':counts', unpack(fields))
  for i = 1, #fields do
    counts[i] = tonumber(counts[i] or nil) or 0
  end
  local levels = redis.call('ZRANGE', q .. ':levels', 0, -1)
  return {counts[1], counts[2], redis.call('ZCARD', q .. ':dead'), tenants_of(q, levels), longest_wait(q, queue, levels),
    redis.call('SCARD', q .. ':waiters'), counts[3], redis.call('ZCARD', q .. ':dead:' .. tenant), unpack(counts, 4)}
end

local results = {}
for at = 3, #ARGV do
  results[#results + 1] = stats(ARGV[at], ARGV[2])
end
return results
