-- wake: tell replicas something, each on a channel of its own, {hw:<cell>}:replica:<id>.
--
--   "wake <queue>"             there is work; sent to one waiter of the queue
--   "cancel <ref> <lease_id>"  a lease that the replica serves should be cancelled
--   "changed <ref> ..."        jobs that somebody watches through the replica have changed
-- On {hw:<cell>}:timers every replica hears the time (us) of a timer that is now the earliest.

local function wake(queue)
  local waiters = queue_key(queue) .. ':waiters'
  local replica = redis.call('SPOP', waiters)
  while replica do
    if redis.call('PUBLISH', cell .. ':replica:' .. replica, 'wake ' .. queue) > 0 then
      return
    end
    replica = redis.call('SPOP', waiters)  -- that one is gone
  end
end

local readied = {}
local function wake_flush()
  for queue in pairs(readied) do
    wake(queue)
  end
end

local changed = {}
-- watchers: the job's field `watch`, ids of replicas separated by blanks
local function notify(ref, watchers)
  if watchers then
    for replica in string.gmatch(watchers, '%S+') do
      changed[replica] = (changed[replica] or 'changed') .. ' ' .. ref
    end
  end
end

local function notify_flush()
  for replica, message in pairs(changed) do
    redis.call('PUBLISH', cell .. ':replica:' .. replica, message)
  end
end

local function timer(kind, ref, at_us)
  local member = kind .. ref
  redis.call('ZADD', cell .. ':timers', int(at_us), member)
  if redis.call('ZRANGE', cell .. ':timers', 0, 0)[1] == member then
    redis.call('PUBLISH', cell .. ':timers', int(at_us))
  end
end
