-- ready: put a job into its lane, or let it wait for a time. The caller writes the job's own fields.
--@include lanes
--@include wake

local function next_seq(by)
  return redis.call('INCRBY', cell .. ':seq', by)
end

local function make_ready(tenant, queue, tail, level, lane, seq)
  local q = queue_key(queue)
  redis.call('ZADD', ready_key(q, level, tenant, lane), seq, tail)
  lane_enter(q, level, tenant, lane)
  readied[queue] = true
end

-- Take a ready job out of its lane without running it.
local function unready(tenant, queue, tail, level, lane)
  local q = queue_key(queue)
  local key = ready_key(q, level, tenant, lane)
  if redis.call('ZREM', key, tail) == 1 and redis.call('EXISTS', key) == 0 then
    lane_leave(q, level, tenant, lane)
  end
end
