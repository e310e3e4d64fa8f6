-- records: what a grant has taken, as decide.lua writes it down, and what is reserved in a cell.
--
-- record        deadline:permits:fingerprint, and where it may be settled |ends:start|bucket=algorithm:thresholds|...|;
--               `!` after a bucket: refused requests count; `@record` among them: the grant's record in another cell;
--               `settled` before that, and no buckets: it was
-- reservations  zset {hw:<cell>}:lim:_platform:reserved: records by the time at which they end by themselves

local ENTRY = '([^|=]+)=([%a_]+):(%-?%d+):(%-?%d+):(%-?%d+):(%-?%d+)(!?)'

-- Its parts; without `tail` it was given for good.
local function open_record(text)
  local head, ends, start, tail = string.match(text, '^([^|]+)|(%d+):(%d+)|(.*)$')
  local deadline, permits, owner = string.match(text, '^(%d+):(%d+):(%x+)')
  return {head = head, ends = tonumber(ends), start = tonumber(start), tail = tail, deadline = deadline, owner = owner,
    permits = tonumber(permits), elsewhere = string.match(tail or '', '@([^|]+)') or ''}
end

-- The buckets of a record, with their states.
local function held_by(grant)
  local held = {}
  for key, algorithm, one, two, three, four, counts in string.gmatch(grant.tail or '', ENTRY) do
    local rule = {algorithm, tonumber(one), tonumber(two), tonumber(three), tonumber(four)}
    held[#held + 1] = {key = key, rule = rule, state = redis.call('GET', key) or nil, counts = counts == '!'}
  end
  return held
end

local function write_bucket(each, state, now_us)
  if state then
    redis.call('SET', each.key, state, 'PX', life_of(state, each.rule, now_us))
  else
    redis.call('UNLINK', each.key)
  end
end

local function reserved_key(record)
  return string.match(record, '^(.-:lim:)') .. '_platform:reserved'
end
