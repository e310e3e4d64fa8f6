-- conclude: end reservations of platform rules, and those that nobody has ended in time (see domain.reservations).
--
-- KEYS[1]  the cell's reservations; their records and buckets are of the same cell
-- ARGV[1]  now_us  us since the epoch; "" means the server's own clock
-- ARGV[2]  batch   JSON, a flat list, for each reservation: operation 0 refund: it never happened | 1 refuse: as refund,
--                  but rules that count refused requests keep it | 2 confirm: it has cost `permits`; its record; permits;
--                  kept 0|1, whether the record stays when it is confirmed
--
-- returns  reservations that have ended by themselves, their permits, reservations that stand, their permits (those of
--          the first 1,000, and only for an empty batch, else 0); and for each of the batch 1 done | 0 it is there no more
-- effect   writes the buckets that permits come back to; ends at most 100 that are overdue, beside those of the batch
-- cost     O(buckets of those that end, and of the batch), and for logs, holds and promises their entries; one cell

local REFUND, REFUSE, CONFIRM = 0, 1, 2
local MAX_OVERDUE, MAX_SUMMED = 100, 1000

--@include buckets
--@include records

local now_us = tonumber(ARGV[1]) or server_us()
local batch = cjson.decode(ARGV[2])
local reserved = KEYS[1]

-- Make it cost less; at 0 it is forgotten. Returns what it had cost.
local function reduce(record, cost, refused)
  local text = redis.call('GET', record)
  if not text then
    return 0
  end
  local grant = open_record(text)
  for _, each in ipairs(held_by(grant)) do
    local algorithm = ALGORITHMS[each.rule[1]]
    local ends, own = open_state(each.state)
    local after = own
    if algorithm.settle and cost < grant.permits then
      after = algorithm.settle(own, cost - grant.permits, each.rule, grant.start, now_us)
    elseif algorithm.release and cost == 0 then
      after = algorithm.release(own, each.rule, now_us, string.match(record, '[^:]+$'))
    end
    after = blocked_state(after, ends, now_us)
    if after ~= each.state and not (refused and each.counts) then
      write_bucket(each, after, now_us)
    end
  end
  if cost == 0 then
    redis.call('UNLINK', record)
  elseif cost < grant.permits then
    local life_us = math.max(tonumber(grant.deadline), grant.ends) - now_us + MARGIN_US
    local after = string.format('%s:%d:%s|%.0f:%.0f|%s', grant.deadline, cost, grant.owner, grant.ends, grant.start, grant.tail)
    redis.call('SET', record, after, 'PX', math.ceil(math.max(MARGIN_US, life_us) / 1000))
  end
  return grant.permits
end

-- Redis allows ZREM when it has no memory left, and with it what follows.
local function end_overdue(record)
  return redis.call('ZREM', reserved, record) == 1 and reduce(record, 0) or 0
end

local function confirm(record, permits, kept)
  local deadline = tonumber(redis.call('ZSCORE', reserved, record) or nil)
  if not deadline then
    return redis.call('EXISTS', record) -- by the same request, sent twice
  end
  if now_us >= deadline then
    end_overdue(record)
    return 0
  end
  redis.call('ZREM', reserved, record)
  if redis.call('EXISTS', record) == 0 then
    return 0
  end
  reduce(record, permits)
  if kept == 0 then
    redis.call('UNLINK', record)
  end
  return 1
end

local overdue = redis.call('ZRANGE', reserved, '-inf', string.format('%d', now_us), 'BYSCORE', 'LIMIT', 0, MAX_OVERDUE)
local reply = {#overdue, 0, 0, 0}
for _, record in ipairs(overdue) do
  reply[2] = reply[2] + end_overdue(record)
end
for at = 1, #batch, 4 do
  local operation, record = batch[at], batch[at + 1]
  if operation == CONFIRM then
    reply[#reply + 1] = confirm(record, batch[at + 2], batch[at + 3])
  else
    local there = redis.call('ZREM', reserved, record)
    if there == 1 then
      reduce(record, 0, operation == REFUSE)
    end
    reply[#reply + 1] = there
  end
end
reply[3] = redis.call('ZCARD', reserved)
if #batch == 0 then
  for _, record in ipairs(redis.call('ZRANGE', reserved, 0, MAX_SUMMED - 1)) do
    local text = redis.call('GET', record)
    reply[4] = reply[4] + (text and open_record(text).permits or 0)
  end
end
return reply
