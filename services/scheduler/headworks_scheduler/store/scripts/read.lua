-- read: jobs as they are, and on request a watch on them.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  watcher   id of the replica to be told of changes ("changed" on its channel), "" for none
-- ARGV[3]... refs, at most 500
--
-- returns  one list of field, value, ... a ref; empty for a job that does not exist
-- effect   the watcher is added to the field `watch` of jobs that have not ended; the last 64 watchers are kept. The first
--          write is ZREM, which a server out of memory allows
-- cost     O(fields) a job
--@include prelude

local watcher = ARGV[2]
local WATCHERS = 64 -- more replicas than anybody has; the oldest of more would not be told
local TERMINAL = {[SUCCEEDED] = true, [DEAD] = true, [CANCELLED] = true}
local jobs = {}

local function watch(key)
  local state, watchers = unpack(redis.call('HMGET', key, 'state', 'watch'))
  if not state or TERMINAL[state] then
    return
  end
  local kept = {}
  for id in string.gmatch(watchers or '', '%S+') do
    if id == watcher then
      return
    end
    kept[#kept + 1] = id
  end
  if #kept == WATCHERS then
    table.remove(kept, 1)
  end
  kept[#kept + 1] = watcher
  redis.call('HSET', key, 'watch', table.concat(kept, ' '))
end

if watcher ~= '' then
  redis.call('ZREM', cell .. ':leases', '')
end
for at = 3, #ARGV do
  local key = job_key(ARGV[at])
  if watcher ~= '' then
    watch(key)
  end
  jobs[#jobs + 1] = redis.call('HGETALL', key)
end
return jobs
