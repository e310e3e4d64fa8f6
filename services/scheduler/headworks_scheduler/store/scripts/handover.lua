-- handover: a replica that was woken has no room; wake another waiter of the queue, if there is work.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  queue
--
-- returns  nothing
-- effect   one waiter of the queue is taken off the list and told; nothing where no job is ready
-- cost     O(1)
--@include prelude
--@include wake

if redis.call('EXISTS', queue_key(ARGV[2]) .. ':levels') == 1 then
  wake(ARGV[2])
end
return false
