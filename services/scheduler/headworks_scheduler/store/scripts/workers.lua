-- workers: what a replica knows of the workers it serves, or has served.
--
-- KEYS[1]  the cell's prefix
-- ARGV[1]  now_us
-- ARGV[2]  replica
-- ARGV[3]  keep_us   after so long without a word a worker is forgotten
-- ARGV[4]  max       workers that are kept at most
-- ARGV[5]... at most 500 times: kind ("new": this session is the worker's latest; "again": only if the worker is not
--          known; "more": news of a session), worker, session, state, hello (a serialised Worker; only read when not
--          "more"), us since the session began, us since the worker was heard, held, succeeded, failed, released
--
-- returns  one number an item: 0 recorded or overtaken by a later session, 1 the worker is not known
-- effect   writes the worker's hash and its place in the index; forgets the silent ones, and the longest silent beyond max
-- cost     O(log n) an item
--@include prelude

local replica, oldest_us, max = ARGV[2], now_us - tonumber(ARGV[3]), tonumber(ARGV[4])
local index = cell .. ':workers'

local function worker_key(worker)
  return cell .. ':worker:' .. worker
end

local function forget(workers)
  for _, worker in ipairs(workers) do
    redis.call('UNLINK', worker_key(worker))
    redis.call('ZREM', index, worker)
  end
end

redis.call('ZREM', index, '')  -- allowed at maxmemory, and so lets the writes below pass: they replace, or are bounded
local results = {}
for at = 5, #ARGV, 11 do
  local kind, worker, session = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local key = worker_key(worker)
  local known = redis.call('HGET', key, 'session')
  results[#results + 1] = kind == 'more' and not known and 1 or 0
  if kind == 'new' or kind == 'again' and not known or kind == 'more' and known == session then
    if kind ~= 'more' then
      redis.call('HSET', key, 'session', session, 'hello', ARGV[at + 4],
        'attached', int(now_us - tonumber(ARGV[at + 5])))
    end
    redis.call('HSET', key, 'replica', replica, 'state', ARGV[at + 3], 'heard', int(now_us - tonumber(ARGV[at + 6])),
      'held', ARGV[at + 7], 'succeeded', ARGV[at + 8], 'failed', ARGV[at + 9], 'released', ARGV[at + 10])
    redis.call('ZADD', index, int(now_us), worker)
  end
end
forget(redis.call('ZRANGEBYSCORE', index, '-inf', int(oldest_us), 'LIMIT', 0, 500))
local surplus = redis.call('ZCARD', index) - max
if surplus > 0 then
  forget(redis.call('ZRANGE', index, 0, math.min(surplus, 500) - 1))
end
return results
