-- submit: record jobs, each one by itself, and make them ready or let them wait for their delay.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  outbox_max   entries of the outbox from which on submits are refused
-- then groups of one queue and tenant, each:
--   queue, tenant, max_size, max_size_per_tenant, n, and n times:
--   tail, fresh (1: the id is new, do not look it up), spec, task, level, lane, trace, delay_us, expire_us (0: never),
--   policy ("<timeout_us>:<retry policy>")
--
-- returns  one number an item: 0 created, 1 exists with an equal spec, 2 exists with another spec, 3 queue full,
--          4 tenant's share of the queue full, 5 outbox full
-- effect   created jobs are SCHEDULED or READY; waiters of the queues are woken
-- cost     O(log n) an item; the first write refuses when the server is out of memory, before anything has changed
--@include prelude
--@include ready

local outbox_max = tonumber(ARGV[2])
local outbox_full = redis.call('XLEN', cell .. ':outbox') >= outbox_max
local created_us = int(now_us)
local results = {}
local at = 3

local function verdict(ref, fresh, spec, size, max_size, tenant_size, max_tenant_size)
  if fresh ~= '1' then
    local stored = redis.call('HGET', job_key(ref), 'spec')
    if stored then
      return stored == spec and 1 or 2
    end
  end
  if size >= max_size then return 3 end
  if tenant_size >= max_tenant_size then return 4 end
  if outbox_full then return 5 end
  return 0
end

-- The fields of an item's job, from ARGV[base] on; the state and what goes with it come last.
local function job_fields(base, ...)
  local fields = {'spec', ARGV[base + 2], 'task', ARGV[base + 3], 'level', ARGV[base + 4], 'created', created_us,
    'policy', ARGV[base + 9], ...}
  local n = #fields
  if ARGV[base + 5] ~= '' then
    fields[n + 1], fields[n + 2] = 'lane', ARGV[base + 5]
    n = n + 2
  end
  if ARGV[base + 6] ~= '' then
    fields[n + 1], fields[n + 2] = 'trace', ARGV[base + 6]
    n = n + 2
  end
  if ARGV[base + 8] ~= '0' then
    fields[n + 1], fields[n + 2] = 'expires', int(now_us + tonumber(ARGV[base + 8]))
  end
  return fields
end

local lanes, order = {}, {}  -- by ready key {level, lane, seq, tail, seq, tail, ...}; the keys in order of appearance

local function remember_ready(q, tenant, base, seq)
  local level, lane = ARGV[base + 4], ARGV[base + 5]
  local key = ready_key(q, level, tenant, lane)
  local members = lanes[key]
  if not members then
    members = {level = level, lane = lane}
    lanes[key] = members
    order[#order + 1] = key
  end
  local n = #members
  members[n + 1], members[n + 2] = seq, ARGV[base]
end

local function fill_lanes(q, tenant, queue)
  for _, key in ipairs(order) do
    redis.call('ZADD', key, unpack(lanes[key]))
    lane_enter(q, lanes[key].level, tenant, lanes[key].lane)
    count_ready(queue, lanes[key].level, #lanes[key] / 2)
    readied[queue] = true
  end
  lanes, order = {}, {}
end

local function create(ref, q, tenant, base, seq)
  local delay_us = tonumber(ARGV[base + 7])
  if delay_us > 0 then
    local due_us = int(now_us + delay_us)
    redis.call('HSET', job_key(ref), unpack(job_fields(base, 'state', SCHEDULED, 'due', due_us)))
    timer('r', ref, due_us)
  else
    seq = int(seq)
    redis.call('HSET', job_key(ref), unpack(job_fields(base, 'state', READY, 'seq', seq)))
    remember_ready(q, tenant, base, seq)
  end
  if ARGV[base + 8] ~= '0' then
    timer('x', ref, now_us + tonumber(ARGV[base + 8]))
  end
end

while ARGV[at] do
  local queue, tenant, n = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 4])
  local q, refs = queue_key(queue), tenant .. '/' .. queue .. '/'
  local max_size, max_tenant_size = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local sizes = redis.call('HMGET', q .. ':counts', 'waiting', 'waiting:' .. tenant)
  local size, tenant_size = tonumber(sizes[1]) or 0, tonumber(sizes[2]) or 0
  local seq, created, listed = next_seq(n) - n, 0, {}
  at = at + 5
  for item = 1, n do
    local ref = refs .. ARGV[at]
    local answer = verdict(ref, ARGV[at + 1], ARGV[at + 2], size + created, max_size, tenant_size + created,
      max_tenant_size)
    if answer == 0 then
      create(ref, q, tenant, at, seq + item)
      created = created + 1
      listed[2 * created - 1], listed[2 * created] = created_us, ARGV[at]
    end
    results[#results + 1] = answer
    at = at + 10
  end
  -- Written group by group: the next group may be of the same queue.
  fill_lanes(q, tenant, queue)
  if created > 0 then
    redis.call('ZADD', q .. ':jobs:' .. tenant, unpack(listed))
  end
  count_waiting(queue, tenant, created)
  count_flush()
  counts = {}
end

wake_flush()
return results
