-- lanes: who competes for a shard's turns (see domain/order.py; the names are the same).
--
--   <q>:levels                       zset  levels with ready jobs, by level
--   <q>:tenants:<level>              zset  tenants with ready jobs, by pass
--   <q>:lanes:<level>:<tenant>       zset  lanes with ready jobs, by pass
--   <q>:ready:<level>:<tenant>:<lane> zset  tails of ready jobs, by seq
--   <q>:resting:...                  zset  passes of those that left, until the virtual time reaches them
--   <q>:virtual                      hash  virtual times: <level> for tenants, <level>:<tenant> for lanes

-- Let name compete in the race <q>:<kind>:<of>; true if it is the first there.
local function enter(q, kind, of, virtual_field, name)
  local race = q .. ':' .. kind .. ':' .. of
  if redis.call('ZSCORE', race, name) then
    return false
  end
  local pass = tonumber(redis.call('HGET', q .. ':virtual', virtual_field)) or 0
  local resting = q .. ':resting:' .. kind .. ':' .. of
  local own = redis.call('ZSCORE', resting, name)
  if own then
    pass = math.max(pass, tonumber(own))
    redis.call('ZREM', resting, name)
  end
  redis.call('ZADD', race, int(pass), name)
  return redis.call('ZCARD', race) == 1
end

-- Take name out of the race; true if nobody is left there.
local function leave(q, kind, of, virtual_field, name)
  local race = q .. ':' .. kind .. ':' .. of
  local resting = q .. ':resting:' .. kind .. ':' .. of
  local pass = redis.call('ZSCORE', race, name)
  redis.call('ZREM', race, name)
  if redis.call('EXISTS', race) == 0 then
    redis.call('DEL', resting)
    redis.call('HDEL', q .. ':virtual', virtual_field)
    return true
  end
  if pass then
    redis.call('ZADD', resting, pass, name)
  end
  return false
end

local function ready_key(q, level, tenant, lane)
  return q .. ':ready:' .. level .. ':' .. tenant .. ':' .. lane
end

local entered = {}  -- ready keys known to compete, for the length of one script

local function lane_enter(q, level, tenant, lane)
  local key = ready_key(q, level, tenant, lane)
  if entered[key] then
    return
  end
  entered[key] = true
  local of = level .. ':' .. tenant
  if enter(q, 'lanes', of, of, lane) and enter(q, 'tenants', level, level, tenant) then
    redis.call('ZADD', q .. ':levels', level, level)
  end
end

local function lane_leave(q, level, tenant, lane)
  entered[ready_key(q, level, tenant, lane)] = nil
  local of = level .. ':' .. tenant
  if leave(q, 'lanes', of, of, lane) and leave(q, 'tenants', level, level, tenant) then
    redis.call('ZREM', q .. ':levels', level)
  end
end
