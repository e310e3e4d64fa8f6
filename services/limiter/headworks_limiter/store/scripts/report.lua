-- report: let buckets learn what an upstream said (see domain.algorithms.report).
--
-- KEYS     the buckets, of one cell
-- ARGV[1]  now_us  us since the epoch; "" means the server's own clock
-- ARGV[2]  report  JSON: rules, a list for each bucket, see include/buckets; kind 0 ok | 1 overload | 2 failure |
--                  3 says nothing; latency_us, 0: unknown; block_us; remaining, -1: not said
--
-- returns  for each bucket: changed 0|1, us until it is blocked no more
-- effect   writes each bucket that has changed
-- cost     O(buckets), and for logs, holds and promises their entries

--@include buckets

local now_us = tonumber(ARGV[1]) or server_us()
local report = cjson.decode(ARGV[2])

local function learn(own, rule)
  local algorithm = ALGORITHMS[rule[1]]
  if algorithm.report then
    return algorithm.report(own, report.kind, report.latency_us, rule, now_us)
  end
  if report.remaining < 0 or not algorithm.settle or rule[1] == 'leaky_bucket' then
    return own
  end
  local _, remaining = algorithm.take(own, 0, rule, now_us)
  if remaining <= report.remaining then
    return own
  end
  local _, _, _, _, lower = algorithm.take(own, remaining - report.remaining, rule, now_us)
  return lower
end

local reply = {}
for index, key in ipairs(KEYS) do
  local rule = report.rules[index]
  local state = redis.call('GET', key) or nil
  local ends, own = open_state(state)
  if not ALGORITHMS[rule[1]].report then
    ends = math.max(ends, now_us + report.block_us)
  end
  local after = blocked_state(learn(own, rule), ends, now_us)
  local changed = after ~= state
  if changed and after then
    redis.call('SET', key, after, 'PX', life_of(after, rule, now_us))
  elseif changed then
    redis.call('UNLINK', key)
  end
  reply[2 * index - 1], reply[2 * index] = changed and 1 or 0, math.max(0, ends - now_us)
end
return reply
