-- ending: events for the outbox, and the end of a job.

-- job: {ref, task, sequence, attempt, generation} before the event; returns the event's sequence
local function emit(events, job, type, state, trace, failure)
  local sequence = (tonumber(job.events) or 0) + 1
  if events == '1' then
    -- One field of words: ten fields would cost twice as much, here and in the relay.
    trace = string.find(trace, '^%S+$') and trace or '-'  -- it comes from callers and workers as it is
    redis.call('XADD', cell .. ':outbox', '*', 'event', table.concat({job.ref, type, job.task, sequence,
      job.attempts or '0', job.gen or '1', state, int(now_us), trace, failure}, ' '))
  end
  return sequence
end

local ended = {}  -- queues known to have finished jobs, for the length of one script

-- The jobs have ended now; forget deletes them in their time. Returns how many there are by queue.
local function keep(refs)
  local finished_us, by_queue, sizes = int(now_us), {}, {}
  for _, ref in ipairs(refs) do
    local queue = queue_of(ref)
    local members = by_queue[queue]
    if not members then
      members = {}
      by_queue[queue] = members
    end
    local n = #members
    members[n + 1], members[n + 2] = finished_us, ref
  end
  for queue, members in pairs(by_queue) do
    redis.call('ZADD', queue_key(queue) .. ':finished', unpack(members))
    if not ended[queue] then
      redis.call('ZADD', cell .. ':ended', 0, queue)
      ended[queue] = true
    end
    sizes[queue] = #members / 2
  end
  return sizes
end

local function bury(ref)
  local tenant, queue, tail = parts(ref)
  local dead = queue_key(queue) .. ':dead'
  redis.call('ZADD', dead, int(now_us), ref)
  redis.call('ZADD', dead .. ':' .. tenant, int(now_us), tail)
end

-- End one job with its event, of which `failure` is a part; `...` are more fields to write, and their values.
local function finish(events, job, type, state, trace, failure, ...)
  local sequence = emit(events, job, type, state, trace, failure)
  redis.call('HSET', job_key(job.ref), 'state', state, 'finished', int(now_us), 'events', sequence, ...)
  keep({job.ref})
  if state == DEAD then
    bury(job.ref)
  end
end

-- The named fields of a job, and its ref; a missing field is false.
local function read_job(ref, fields)
  local values = redis.call('HMGET', job_key(ref), unpack(fields))
  local job = {ref = ref}
  for i = 1, #fields do
    job[fields[i]] = values[i]
  end
  return job
end

-- What a worker's word about a lease is worth: 'valid', 'repeated' (it was already recorded) or 'lost'.
local function standing(job, lease_id)
  if job.lease ~= lease_id then
    return 'lost'
  end
  return job.state == LEASED and 'valid' or 'repeated'
end
