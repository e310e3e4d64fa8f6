-- reconcile_counts: counters of queues that differ from what they count are set right.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  entries_max  leases, timers and lanes of the cell up to which it counts; where there are more, nothing is checked
-- ARGV[3]... all queues of the cell that may hold jobs
--
-- returns  {1, or 0 if there was too much to count; kind, number of repairs, ...}; the kind is `counts`, by field
-- effect   as said. Run it when the indexes have just been reconciled: it counts their entries
-- cost     O(entries_max), and O(tenants) a queue
--@include prelude
--@include repairs

local left = tonumber(ARGV[2]) - redis.call('ZCARD', cell .. ':leases') - redis.call('ZCARD', cell .. ':timers')
if left < 0 then
  return {0}
end
local truth = {}  -- by queue and field

local function add(queue, field, by)
  truth[queue] = truth[queue] or {}
  truth[queue][field] = (truth[queue][field] or 0) + by
end

local function add_waiting(queue, tenant, by)
  add(queue, 'waiting', by)
  add(queue, 'waiting:' .. tenant, by)
end

-- False when there are too many lanes.
local function add_ready(queue)
  local q = queue_key(queue)
  for _, level in ipairs(redis.call('ZRANGE', q .. ':levels', 0, -1)) do
    for _, tenant in ipairs(redis.call('ZRANGE', q .. ':tenants:' .. level, 0, left)) do
      local lanes = redis.call('ZRANGE', q .. ':lanes:' .. level .. ':' .. tenant, 0, left)
      left = left - 1 - #lanes
      if left < 0 then
        return false
      end
      for _, lane in ipairs(lanes) do
        local n = redis.call('ZCARD', q .. ':ready:' .. level .. ':' .. tenant .. ':' .. lane)
        add_waiting(queue, tenant, n)
        add(queue, 'ready:' .. level, n)
      end
    end
  end
  return true
end

local function correct(queue)
  local key, should = queue_key(queue) .. ':counts', truth[queue] or {}
  local flat = redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    local field = flat[i]
    if tonumber(flat[i + 1]) ~= (should[field] or 0) then
      repaired('counts')
      if should[field] then
        redis.call('HSET', key, field, should[field])
      else
        redis.call('HDEL', key, field)
      end
    end
    should[field] = nil
  end
  for field, n in pairs(should) do
    if n > 0 then
      redis.call('HSET', key, field, n)
      repaired('counts')
    end
  end
end

for at = 3, #ARGV do
  if not add_ready(ARGV[at]) then
    return {0}
  end
end
for _, ref in ipairs(redis.call('ZRANGE', cell .. ':leases', 0, -1)) do
  add(queue_of(ref), 'leased', 1)
end
for _, member in ipairs(redis.call('ZRANGE', cell .. ':timers', 0, -1)) do
  if string.sub(member, 1, 1) == 'r' then
    local tenant, queue = parts(string.sub(member, 2))
    add_waiting(queue, tenant, 1)
  end
end
for at = 3, #ARGV do
  correct(ARGV[at])
end
return report({1})
