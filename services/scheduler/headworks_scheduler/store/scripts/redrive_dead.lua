-- redrive_dead: send a tenant's dead letters of a queue back, those first that died first.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  queue
-- ARGV[3]  tenant
-- ARGV[4]  max_size, ARGV[5] max_size_per_tenant, ARGV[6] outbox_max: bounds, as for submit
-- ARGV[7]  limit      jobs redriven, at most 500
-- ARGV[8]  scan_max   dead letters looked at, at most
-- ARGV[9]  cutoff_us  those that died later are left alone; "" for now
-- ARGV[10] score      of the last dead letter that an earlier call looked at; "" from the oldest
-- ARGV[11] tail       of that job
-- ARGV[12]... the filter, see include/filter.lua
--
-- returns  {cutoff_us; score, tail of the last dead letter that was looked at, "" and "" when none is left;
--          0, or why it stopped: 3 to 5 as in redrive; tails of the jobs that were sent back}
-- effect   as redrive
-- cost     O(log n) a job that is looked at
--@include prelude
--@include filter
--@include redriving

local queue, tenant, limit, left = ARGV[2], ARGV[3], tonumber(ARGV[7]), tonumber(ARGV[8])
local cutoff_us = tonumber(ARGV[9]) or now_us
local filter, refs = read_filter(12), tenant .. '/' .. queue .. '/'
local room = room_of(queue, tenant, tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]))
local index = queue_key(queue) .. ':dead:' .. tenant
local rank = rank_after(index, ARGV[10], ARGV[11], false)
local entries = redis.call('ZRANGE', index, rank, rank + left, 'WITHSCORES')  -- one more than are looked at
local reply = {int(cutoff_us), ARGV[10], ARGV[11], 0}

local function more()
  for i = 1, #entries, 2 do
    if tonumber(entries[i + 1]) > cutoff_us then
      return false
    elseif left == 0 or limit == 0 then
      return true
    end
    if fits(filter, refs .. entries[i]) then
      local code = redrive(tenant, queue, entries[i], room)
      if code > 2 then
        reply[4] = code
        return true
      elseif code == 0 then
        limit = limit - 1
        reply[#reply + 1] = entries[i]
      end
    end
    left = left - 1
    reply[2], reply[3] = entries[i + 1], entries[i]
  end
  return false
end

if not more() then
  reply[2], reply[3] = '', ''
end
redrive_flush()
return reply
