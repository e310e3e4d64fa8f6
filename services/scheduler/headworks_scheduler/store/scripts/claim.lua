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
-- ARGV[8]  expired       a serialised Failure for the dead letter of jobs that turn out to be expired
-- ARGV[9]... pairs: worker, how many jobs for it (in all at most 500)
--
-- returns  a flat list, six a job: name, lease_id, attempt, spec, trace ("" when not sampled), policy
-- effect   the jobs are LEASED; expired ones are DEAD instead, with event `dead`, and after 500 of those it returns with
--          what it has. The first write is SREM, which a server out of memory allows
-- cost     O(log n) a job
--@include prelude
--@include wake
--@include turns
--@include ending

local queue, replica = ARGV[2], ARGV[4]
local weights = ARGV[6] ~= '' and cjson.decode(ARGV[6]) or {tenants = {}, lanes = {}}
local q = queue_key(queue)
local until_us, started_us = int(now_us + tonumber(ARGV[3])), int(now_us)
local last_lease = math.max(tonumber(redis.call('GET', cell .. ':lease')) or 0, now_us - 1)
local CLAIM_FIELDS = {'spec', 'attempts', 'trace', 'policy', 'expires', 'watch', 'task', 'events', 'gen'}
local EXPIRED_MAX = 500
local claimed, leases = {}, {}
local left, left_levels = {}, {}  -- jobs that no longer wait, by tenant and by level
local expired, timers = 0, {}

local function expire(job)
  expired = expired + 1
  finish(ARGV[7], job, 'dead', DEAD, job.trace or '', ARGV[8], 'failure', ARGV[8])
end

local function lease(job, tenant, tail, worker)
  last_lease = last_lease + 1
  local id, attempt = int(last_lease), (job.attempts or 0) + 1
  redis.call('HSET', job_key(job.ref), 'state', LEASED, 'lease', id, 'attempts', attempt, 'worker', worker,
    'replica', replica, 'started', started_us)
  local n = #claimed
  claimed[n + 1] = 'tenants/' .. tenant .. '/queues/' .. queue .. '/jobs/' .. ARGV[5] .. '-' .. tail
  claimed[n + 2], claimed[n + 3], claimed[n + 4] = id, attempt, job.spec
  claimed[n + 5], claimed[n + 6] = job.trace or '', job.policy
  n = #leases
  leases[n + 1], leases[n + 2] = until_us, job.ref
end

-- The next jobs for one worker; false when it got fewer than it wanted.
local function serve_worker(worker, wanted)
  local function taken(level, tenant, tail)
    local job = read_job(tenant .. '/' .. queue .. '/' .. tail, CLAIM_FIELDS)
    left[tenant], left_levels[level] = (left[tenant] or 0) + 1, (left_levels[level] or 0) + 1
    if job.expires then
      timers[#timers + 1] = 'x' .. job.ref
    end
    if job.expires and tonumber(job.expires) <= now_us then
      expire(job)
    elseif job.spec then
      lease(job, tenant, tail, worker)
      wanted = wanted - 1
    end
    notify(job.ref, job.watch)
  end
  while wanted > 0 and expired < EXPIRED_MAX do
    if take(q, wanted, weights, taken) == 0 then
      return false
    end
  end
  return wanted == 0
end

redis.call('SREM', q .. ':waiters', replica)
local satisfied = true
for i = 9, #ARGV, 2 do
  satisfied = satisfied and serve_worker(ARGV[i], tonumber(ARGV[i + 1]))
end

if #leases > 0 then
  redis.call('ZADD', cell .. ':leases', unpack(leases))
  redis.call('SET', cell .. ':lease', int(last_lease))
  count(queue, 'leased', #leases / 2)
end
if #timers > 0 then
  redis.call('ZREM', cell .. ':timers', unpack(timers))
end
for tenant, n in pairs(left) do
  count_waiting(queue, tenant, -n)
end
for level, n in pairs(left_levels) do
  count_ready(queue, level, -n)
end
count_flush()
if not satisfied then
  redis.call('SADD', q .. ':waiters', replica)
end
if redis.call('EXISTS', q .. ':levels') == 1 then
  wake(queue)  -- more than this replica asked for: somebody else may have room
end
notify_flush()
return claimed
