-- claim: lease the next jobs of a queue's shard, in the order of domain/order.py, and register as a waiter when there
-- are fewer than asked for.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  queue
-- ARGV[3]  delivery_us   length of the new leases, until the first heartbeat that lists them
-- ARGV[4]  replica       who claims
-- ARGV[5]  cell number, for the jobs' names
-- ARGV[6]  weights       JSON {"tenants": {name: weight}, "lanes": {...}}, "" for none
-- ARGV[7]  events        1 if the outbox is in use
-- ARGV[8]  retention_us  for jobs that turn out to be expired
-- ARGV[9]  expired       a serialised Failure for their dead letter
-- ARGV[10]... pairs: worker, how many jobs for it (in all at most 500)
--
-- returns  a flat list, six a job: name, lease_id, attempt, spec, trace ("" when not sampled), policy
-- effect   the jobs are LEASED; expired ones are DEAD instead
-- cost     O(log n) a job
--@include prelude
--@include ready
--@include ending

local queue, delivery_us, replica, cell_number = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local weights = ARGV[6] ~= '' and cjson.decode(ARGV[6]) or {tenants = {}, lanes = {}}
local events, retention_us, expired = ARGV[7], tonumber(ARGV[8]), ARGV[9]
local q = queue_key(queue)
local STRIDE = 16384

-- Charge name for k jobs in a race of n, as Race.serve does.
local function serve(race, virtual_field, name, pass, n, weight, k)
  local virtual = tonumber(redis.call('HGET', q .. ':virtual', virtual_field)) or 0
  local step, stride = math.floor(STRIDE / n), math.floor(STRIDE / weight)
  for _ = 1, k do
    virtual = math.max(virtual + step, pass)
    pass = pass + stride
  end
  redis.call('HSET', q .. ':virtual', virtual_field, int(virtual))
  redis.call('ZADD', race, int(pass), name)
  return virtual
end

-- The next jobs, at most n and all of one lane: tenant, lane, level, and tail, seq, tail, seq ...
local function take(n)
  local level = redis.call('ZRANGE', q .. ':levels', 0, 0)[1]
  if not level then
    return nil
  end
  local tenants = q .. ':tenants:' .. level
  local first = redis.call('ZRANGE', tenants, 0, 0, 'WITHSCORES')
  local tenant, of = first[1], level .. ':' .. first[1]
  local lanes = q .. ':lanes:' .. of
  local head = redis.call('ZRANGE', lanes, 0, 0, 'WITHSCORES')
  local lane = head[1]
  local competing_tenants, competing_lanes = redis.call('ZCARD', tenants), redis.call('ZCARD', lanes)
  local alone = competing_tenants == 1 and competing_lanes == 1
  local key = ready_key(q, level, tenant, lane)
  local popped = redis.call('ZPOPMIN', key, alone and n or 1)
  local k = #popped / 2
  local virtual = serve(tenants, level, tenant, tonumber(first[2]), competing_tenants, weights.tenants[tenant] or 1, k)
  redis.call('ZREMRANGEBYSCORE', q .. ':resting:tenants:' .. level, '-inf', int(virtual))
  virtual = serve(lanes, of, lane, tonumber(head[2]), competing_lanes, weights.lanes[lane] or 1, k)
  redis.call('ZREMRANGEBYSCORE', q .. ':resting:lanes:' .. of, '-inf', int(virtual))
  if k < n and alone or redis.call('EXISTS', key) == 0 then
    lane_leave(q, level, tenant, lane)
  end
  return tenant, lane, level, popped
end

local CLAIM_FIELDS = {'spec', 'attempts', 'trace', 'policy', 'expires', 'task', 'events', 'gen', 'watch'}
local claimed, leases = {}, {}
local last_lease = math.max((tonumber(redis.call('GET', cell .. ':lease')) or 0), now_us - 1)

local function expire(job, tenant)
  local key = job_key(job.ref)
  local sequence = emit(events, job, 'dead', DEAD, job.trace or '', expired)
  redis.call('HSET', key, 'state', DEAD, 'finished', int(now_us), 'events', sequence, 'failure', expired)
  forget_later(job.ref, retention_us)
  count_waiting(queue, tenant, -1)
  notify(job.ref, job.watch)
end

local function lease(job, tenant, tail, worker)
  last_lease = last_lease + 1
  local attempt = (tonumber(job.attempts) or 0) + 1
  local id = int(last_lease)
  redis.call('HSET', job_key(job.ref), 'state', LEASED, 'lease', id, 'attempts', attempt, 'worker', worker,
    'replica', replica, 'started', int(now_us))
  local n = #claimed
  claimed[n + 1] = 'tenants/' .. tenant .. '/queues/' .. queue .. '/jobs/' .. cell_number .. '-' .. tail
  claimed[n + 2], claimed[n + 3], claimed[n + 4] = id, attempt, job.spec
  claimed[n + 5], claimed[n + 6] = job.trace or '', job.policy
  leases[#leases + 1] = int(now_us + delivery_us)
  leases[#leases + 1] = job.ref
  count_waiting(queue, tenant, -1)
  notify(job.ref, job.watch)
end

local drained = false
for i = 10, #ARGV, 2 do
  local worker, wanted = ARGV[i], tonumber(ARGV[i + 1])
  while wanted > 0 and not drained do
    local tenant, _, _, popped = take(wanted)
    drained = tenant == nil
    for j = 1, popped and #popped or 0, 2 do
      local ref = tenant .. '/' .. queue .. '/' .. popped[j]
      local job = read_job(ref, CLAIM_FIELDS)
      if job.spec and job.expires and tonumber(job.expires) <= now_us then
        expire(job, tenant)
      elseif job.spec then
        lease(job, tenant, popped[j], worker)
        wanted = wanted - 1
      end
    end
  end
end

if #leases > 0 then
  redis.call('ZADD', cell .. ':leases', unpack(leases))
  redis.call('SET', cell .. ':lease', int(last_lease))
  count(queue, 'leased', #leases / 2)
end
count_flush()
if drained then
  redis.call('SADD', q .. ':waiters', replica)
elseif redis.call('EXISTS', q .. ':levels') == 1 then
  wake(queue)  -- more than this replica asked for: somebody else may have room
end
notify_flush()
return claimed
