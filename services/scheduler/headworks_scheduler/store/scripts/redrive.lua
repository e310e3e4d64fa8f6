-- redrive: send dead or cancelled jobs back, each one by itself.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  queue
-- ARGV[3]  tenant
-- ARGV[4]  max_size, ARGV[5] max_size_per_tenant, ARGV[6] outbox_max: bounds, as for submit
-- ARGV[7]... tails, at most 500
--
-- returns  one number a job: 0 redriven, 1 there is none, 2 it is in another state, 3 queue full, 4 tenant's share of the
--          queue full, 5 outbox full
-- effect   READY at a new place in its lane, generation + 1; `failures` and `lost` from 0, no expiry any more. The lease_id
--          stays, so that whoever held the last lease is known but has no say. The first write refuses when the server is
--          out of memory
-- cost     O(log n) a job
--@include prelude
--@include redriving

local queue, tenant = ARGV[2], ARGV[3]
local room = room_of(queue, tenant, tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]))
local results = {}
for at = 7, #ARGV do
  results[#results + 1] = redrive(tenant, queue, ARGV[at], room)
end
redrive_flush()
return results
