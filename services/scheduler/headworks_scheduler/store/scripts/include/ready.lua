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
  count_ready(queue, level, 1)
  readied[queue] = true
end

-- A leased job waits again, at its old place, after delay_us. job: {ref, level, lane, seq, expires}
local function wait_again(job, tenant, queue, tail, delay_us)
  redis.call('HDEL', job_key(job.ref), 'progress')
  count_waiting(queue, tenant, 1)
  if job.expires then
    timer('x', job.ref, tonumber(job.expires))
  end
  if delay_us > 0 then
    timer('r', job.ref, now_us + delay_us)
  else
    make_ready(tenant, queue, tail, job.level, job.lane or '', job.seq)
  end
end

-- Take a ready job out of its lane without running it.
local function unready(tenant, queue, tail, level, lane)
  local q = queue_key(queue)
  local key = ready_key(q, level, tenant, lane)
  count_ready(queue, level, -1)
  if redis.call('ZREM', key, tail) == 1 and redis.call('EXISTS', key) == 0 then
    lane_leave(q, level, tenant, lane)
  end
end
