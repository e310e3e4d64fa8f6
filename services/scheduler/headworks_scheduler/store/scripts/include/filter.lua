-- filter: which jobs a caller asks for, and where a page begins.
--@include bytewise
--@include wire

-- From ARGV[at] on: state, task, whether a lane is asked for (1 or 0), lane, failure category, error class; "" and 0 fit
-- all.
local function read_filter(at)
  return {state = ARGV[at], task = ARGV[at + 1], by_lane = ARGV[at + 2] == '1', lane = ARGV[at + 3],
    category = ARGV[at + 4], class = ARGV[at + 5]}
end

local function fits_failure(filter, failure)
  local class, category = '', '0'
  for _, field in ipairs(wire_fields(failure) or {}) do
    if field[1] == 1 then
      class = string.sub(failure, field[4], field[3])
    elseif field[1] == 4 then
      category = tostring(field[4])
    end
  end
  return (filter.class == '' or filter.class == class) and (filter.category == '0' or filter.category == category)
end

local function fits(filter, ref)
  local state, task, lane = unpack(redis.call('HMGET', job_key(ref), 'state', 'task', 'lane'))
  if not state or filter.state ~= '0' and filter.state ~= state or filter.task ~= '' and filter.task ~= task
    or filter.by_lane and filter.lane ~= (lane or '') then
    return false
  end
  if filter.class == '' and filter.category == '0' then
    return true
  end
  local failure = redis.call('HGET', job_key(ref), 'failure')
  return failure and fits_failure(filter, failure)
end

-- The rank from which on entries of an index come after (score, member), which need not be there any more; with `down`
-- in the index read from its end.
local function rank_after(index, score, member, down)
  if score == '' then
    return 0
  end
  local low = down and redis.call('ZCOUNT', index, '(' .. score, '+inf') or redis.call('ZCOUNT', index, '-inf', '(' .. score)
  local high = low + redis.call('ZCOUNT', index, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry = redis.call(down and 'ZREVRANGE' or 'ZRANGE', index, middle, middle)[1]
    local later = down and precedes(entry, member) or not down and precedes(member, entry)
    if later then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end
