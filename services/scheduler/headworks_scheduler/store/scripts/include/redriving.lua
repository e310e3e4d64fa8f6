-- redriving: jobs that ended dead or cancelled become ready again.
--@include ready
--@include ending

local REDRIVE_FIELDS = {'state', 'gen', 'level', 'lane', 'watch'}

-- What the queue has room for, counted down by redrive: {code of the refusal when it is used up, jobs}
local function room_of(queue, tenant, max_size, max_tenant_size, outbox_max)
  if redis.call('XLEN', cell .. ':outbox') >= outbox_max then
    return {5, 0}
  end
  local sizes = redis.call('HMGET', queue_key(queue) .. ':counts', 'waiting', 'waiting:' .. tenant)
  local in_queue, of_tenant = max_size - (tonumber(sizes[1]) or 0), max_tenant_size - (tonumber(sizes[2]) or 0)
  if in_queue <= of_tenant then
    return {3, in_queue}
  end
  return {4, of_tenant}
end

local function leave_indexes(job, queue, tenant, tail)
  local q = queue_key(queue)
  if redis.call('ZREM', q .. ':finished', job.ref) == 1 and redis.call('EXISTS', q .. ':finished') == 0 then
    redis.call('ZREM', cell .. ':ended', queue)
  end
  redis.call('ZREM', cell .. ':finished', job.ref)  -- of schema 1.0
  if job.state == DEAD then
    redis.call('ZREM', q .. ':dead', job.ref)
    redis.call('ZREM', q .. ':dead:' .. tenant, tail)
  end
end

-- Make one job ready, at a new place. 0 done, 1 there is none, 2 it is in another state, 3 to 5 no room, as in submit.
local function redrive(tenant, queue, tail, room)
  local job = read_job(tenant .. '/' .. queue .. '/' .. tail, REDRIVE_FIELDS)
  if not job.state then
    return 1
  elseif job.state ~= DEAD and job.state ~= CANCELLED then
    return 2
  elseif room[2] <= 0 then
    return room[1]
  end
  room[2] = room[2] - 1
  local key, seq = job_key(job.ref), int(next_seq(1))
  leave_indexes(job, queue, tenant, tail)
  redis.call('HSET', key, 'state', READY, 'seq', seq, 'due', int(now_us), 'gen', int((tonumber(job.gen) or 1) + 1))
  redis.call('HDEL', key, 'failures', 'lost', 'finished', 'cancel', 'progress', 'expires')
  make_ready(tenant, queue, tail, job.level, job.lane or '', seq)
  count_waiting(queue, tenant, 1)
  notify(job.ref, job.watch)
  return 0
end

local function redrive_flush()
  count_flush()
  wake_flush()
  notify_flush()
end
