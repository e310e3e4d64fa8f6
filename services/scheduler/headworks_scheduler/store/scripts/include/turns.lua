-- turns: take the next jobs of a shard, in the order of domain/order.py.
--
-- Races are read once, run in memory, and written back; of a race only as many competitors are read as there will be
-- turns, because nobody behind them can come up before each of them has had one.
--@include lanes
--@include bytewise

local STRIDE = 16384

-- The weights of all who compete, also of those that were not read.
local function total_weight(race, weights)
  local total, names, scores = race.n, race.names, nil
  if next(weights) == nil then
    return total
  end
  if race.last < race.n then
    names = {}
    for name in pairs(weights) do
      names[#names + 1] = name
    end
    scores = redis.call('ZMSCORE', race.key, unpack(names))
  end
  for i, name in ipairs(names) do
    if not scores or scores[i] then
      total = total + (weights[name] or 1) - 1
    end
  end
  return total
end

local function load_race(q, kind, of, field, turns, weights)
  local race = {key = q .. ':' .. kind .. ':' .. of, resting = q .. ':resting:' .. kind .. ':' .. of, field = field,
    names = {}, passes = {}, first = 1, charged = {}}
  local flat = redis.call('ZRANGE', race.key, 0, turns - 1, 'WITHSCORES')
  for i = 1, #flat, 2 do
    race.names[#race.names + 1] = flat[i]
    race.passes[#race.passes + 1] = tonumber(flat[i + 1])
  end
  race.last = #race.names
  race.n = race.last < turns and race.last or redis.call('ZCARD', race.key)
  race.virtual = tonumber(redis.call('HGET', q .. ':virtual', field)) or 0
  race.weights, race.weight = weights, total_weight(race, weights)
  return race
end

-- Charge the head for k turns; it then stands where its pass puts it, or outside if it leaves.
local function serve(race, k, leaves)
  local names, passes, first = race.names, race.passes, race.first
  local name, pass = names[first], passes[first]
  local weight = race.weights[name] or 1
  local step, stride = math.max(1, math.floor(STRIDE / race.weight)), math.floor(STRIDE / weight)
  for _ = 1, k do
    race.virtual = math.max(pass, math.min(race.virtual + step, pass + STRIDE))
    pass = pass + stride
  end
  race.first = first + 1
  race.charged[name] = leaves and -pass or pass
  if leaves then
    race.n, race.weight = race.n - 1, race.weight - weight
    return
  end
  local at = race.last + 1
  while at > race.first and (passes[at - 1] > pass or passes[at - 1] == pass and precedes(name, names[at - 1])) do
    names[at], passes[at] = names[at - 1], passes[at - 1]
    at = at - 1
  end
  names[at], passes[at] = name, pass
  race.last = race.last + 1
end

local function save_race(q, race)
  local stay, rest, gone = {}, {}, {}
  for name, pass in pairs(race.charged) do
    if pass < 0 then
      rest[#rest + 1], rest[#rest + 2], gone[#gone + 1] = int(-pass), name, name
    else
      stay[#stay + 1], stay[#stay + 2] = int(pass), name
    end
  end
  if #gone > 0 then redis.call('ZREM', race.key, unpack(gone)) end
  if race.n == 0 then
    redis.call('DEL', race.resting)
    redis.call('HDEL', q .. ':virtual', race.field)
    return
  end
  if #stay > 0 then redis.call('ZADD', race.key, unpack(stay)) end
  if #rest > 0 then redis.call('ZADD', race.resting, unpack(rest)) end
  redis.call('HSET', q .. ':virtual', race.field, int(race.virtual))
  redis.call('ZREMRANGEBYSCORE', race.resting, '-inf', int(race.virtual))
end

-- Take at most n jobs of one level; calls taken(level, tenant, tail) for each, in order, and returns how many.
local function take_level(q, level, n, weights, taken)
  local tenants, lanes_of, left = load_race(q, 'tenants', level, level, n, weights.tenants), {}, {}
  local turns = n
  while turns > 0 and tenants.n > 0 do
    local tenant = tenants.names[tenants.first]
    local of = level .. ':' .. tenant
    local lanes = lanes_of[tenant]
    if not lanes then
      lanes = load_race(q, 'lanes', of, of, turns, weights.lanes)
      lanes_of[tenant] = lanes
    end
    local lane = lanes.names[lanes.first]
    local key = ready_key(q, level, tenant, lane)
    left[key] = left[key] or redis.call('ZCARD', key)
    local k = tenants.n == 1 and lanes.n == 1 and math.min(turns, left[key]) or 1
    local popped = redis.call('ZPOPMIN', key, k)
    for i = 1, #popped, 2 do
      taken(level, tenant, popped[i])
    end
    left[key] = left[key] - k
    turns = turns - k
    serve(lanes, k, left[key] <= 0)
    serve(tenants, k, lanes.n == 0)
    if lanes.n == 0 then
      save_race(q, lanes)
      lanes_of[tenant] = nil
    end
  end
  for _, lanes in pairs(lanes_of) do
    save_race(q, lanes)
  end
  save_race(q, tenants)
  if tenants.n == 0 then
    redis.call('ZREM', q .. ':levels', level)
  end
  return n - turns
end

-- Take at most n jobs; how many there were.
local function take(q, n, weights, taken)
  local got = 0
  while got < n do
    local level = redis.call('ZRANGE', q .. ':levels', 0, 0)[1]
    if not level then
      break
    end
    got = got + take_level(q, level, n - got, weights, taken)
  end
  return got
end
