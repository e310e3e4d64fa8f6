-- reconcile: jobs that an index has lost get their places back. A job's own state is the truth.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  lease_us   length of a lease whose end is not known any more, from now
-- ARGV[3]... refs, at most 500
--
-- returns  kind, number of repairs, kind, number, ...: listed, leases, timers, ready, lanes, finished, dead
-- effect   as said; replicas are woken for jobs that are ready again. Nothing where nothing is wrong
-- cost     O(log n) a job
--@include prelude
--@include ready
--@include ending
--@include repairs

local FIELDS = {'state', 'level', 'lane', 'seq', 'due', 'expires', 'created', 'finished'}
local TERMINAL = {[SUCCEEDED] = true, [DEAD] = true, [CANCELLED] = true}

-- Put member into the index if it is not there; true if it was not.
local function place(index, score, member, kind)
  if redis.call('ZSCORE', index, member) then
    return false
  end
  redis.call('ZADD', index, score, member)
  repaired(kind)
  return true
end

local competing = {}  -- ready keys whose lane is known to compete

local function compete(q, level, tenant, lane, counted)
  local key, of = ready_key(q, level, tenant, lane), level .. ':' .. tenant
  if competing[key] then
    return
  end
  competing[key] = true
  if redis.call('ZSCORE', q .. ':lanes:' .. of, lane) and redis.call('ZSCORE', q .. ':tenants:' .. level, tenant)
    and redis.call('ZSCORE', q .. ':levels', level) then
    return
  end
  enter(q, 'lanes', of, of, lane)
  enter(q, 'tenants', level, level, tenant)
  redis.call('ZADD', q .. ':levels', level, level)
  if counted then
    repaired('lanes')
  end
end

local function check_ready(job, tenant, queue, tail)
  local q, lane = queue_key(queue), job.lane or ''
  if not job.seq then
    job.seq = int(next_seq(1))
    redis.call('HSET', job_key(job.ref), 'seq', job.seq)
  end
  local lost = place(ready_key(q, job.level, tenant, lane), job.seq, tail, 'ready')
  compete(q, job.level, tenant, lane, not lost)
  if lost then
    readied[queue] = true
  end
end

local function check_timer(kind, job, at_us)
  if at_us and not redis.call('ZSCORE', cell .. ':timers', kind .. job.ref) then
    timer(kind, job.ref, at_us)
    repaired('timers')
  end
end

local function check_finished(job, tenant, queue, tail)
  local q, finished_us = queue_key(queue), job.finished or int(now_us)
  if place(q .. ':finished', finished_us, job.ref, 'finished') then
    redis.call('ZREM', cell .. ':finished', job.ref)  -- of schema 1.0
  end
  if not ended[queue] and not redis.call('ZSCORE', cell .. ':ended', queue) then
    redis.call('ZADD', cell .. ':ended', 0, queue)
    repaired('finished')
  end
  ended[queue] = true
  if job.state == DEAD then
    place(q .. ':dead', finished_us, job.ref, 'dead')
    place(q .. ':dead:' .. tenant, finished_us, tail, 'dead')
  end
end

for at = 3, #ARGV do
  local job = read_job(ARGV[at], FIELDS)
  local tenant, queue, tail = parts(job.ref)
  if job.state and tail then
    place(queue_key(queue) .. ':jobs:' .. tenant, job.created, tail, 'listed')
    if job.state == LEASED then
      place(cell .. ':leases', int(now_us + tonumber(ARGV[2])), job.ref, 'leases')
    elseif TERMINAL[job.state] then
      check_finished(job, tenant, queue, tail)
    else
      if job.state == READY then
        check_ready(job, tenant, queue, tail)
      else
        check_timer('r', job, tonumber(job.due or nil) or now_us)
      end
      check_timer('x', job, tonumber(job.expires or nil))
    end
  end
end
wake_flush()
return report({})
