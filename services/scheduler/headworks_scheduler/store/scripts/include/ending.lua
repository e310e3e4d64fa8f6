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

-- The jobs will be forgotten after their retention.
local function forget_later(refs, retention_us)
  local forget_us, members = int(now_us + retention_us), {}
  for _, ref in ipairs(refs) do
    local n = #members
    members[n + 1], members[n + 2] = forget_us, ref
  end
  redis.call('ZADD', cell .. ':finished', unpack(members))
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
