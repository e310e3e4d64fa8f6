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

local function create(ref, tenant, queue, base)
  local tail, spec, task, level, lane = ARGV[base], ARGV[base + 2], ARGV[base + 3], ARGV[base + 4], ARGV[base + 5]
  local trace, delay_us, expire_us = ARGV[base + 6], tonumber(ARGV[base + 7]), tonumber(ARGV[base + 8])
  local ready_us = now_us + delay_us
  local fields = {'spec', spec, 'task', task, 'level', level, 'created', int(now_us), 'policy', ARGV[base + 9]}
  local n = #fields
  local function set(name, value)
    fields[n + 1], fields[n + 2] = name, value
    n = n + 2
  end
  local seq
  if delay_us > 0 then
    set('state', SCHEDULED)
    set('due', int(ready_us))
  else
    seq = int(next_seq(1))
    set('state', READY)
    set('seq', seq)
  end
  if lane ~= '' then set('lane', lane) end
  if trace ~= '' then set('trace', trace) end
  if expire_us > 0 then set('expires', int(now_us + expire_us)) end
  redis.call('HSET', job_key(ref), unpack(fields))
  if seq then
    make_ready(tenant, queue, tail, level, lane, seq)
  else
    timer('r', ref, ready_us)
  end
  if expire_us > 0 then timer('x', ref, now_us + expire_us) end
end

while ARGV[at] do
  local queue, tenant, n = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 4])
  local max_size, max_tenant_size = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local sizes = redis.call('HMGET', queue_key(queue) .. ':counts', 'waiting', 'waiting:' .. tenant)
  local size, tenant_size = tonumber(sizes[1]) or 0, tonumber(sizes[2]) or 0
  at = at + 5
  local created = 0
  for _ = 1, n do
    local ref = tenant .. '/' .. queue .. '/' .. ARGV[at]
    local answer = verdict(ref, ARGV[at + 1], ARGV[at + 2], size + created, max_size, tenant_size + created,
      max_tenant_size)
    if answer == 0 then
      create(ref, tenant, queue, at)
      created = created + 1
    end
    results[#results + 1] = answer
    at = at + 10
  end
  -- Written group by group: the next group may be of the same queue.
  count_waiting(queue, tenant, created)
  count_flush()
  counts = {}
end

wake_flush()
return results
