-- settle: end, release or renew a grant that is held (see store.holds).
--
-- KEYS[1]  the grant's record; its buckets are of the same cell
-- ARGV[1]  now_us     us since the epoch; "" means the server's own clock
-- ARGV[2]  operation  settle: it cost `permits` | release: nothing is held any more | renew: hold on
-- ARGV[3]  permits    what it cost, >= 0
-- ARGV[4]  holder     the grant's id
--
-- returns  status, permits that it has cost, us until it ends, buckets that were changed, the grant's record in another
--          cell or ""; status 0 unknown | 1 done | 2 settled before | 3 too late | 4 is not held | 5 holds nothing any more
-- effect   writes the buckets that it took from, and the record
-- cost     O(buckets of the grant), and for logs, holds and promises their entries; one cell

local UNKNOWN, DONE, SETTLED, LATE, NOT_HELD, LOST = 0, 1, 2, 3, 4, 5

--@include buckets
--@include records

local now_us = tonumber(ARGV[1]) or server_us()
local operation, cost, holder = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local record = redis.call('GET', KEYS[1])
if not record then
  return {UNKNOWN, 0, 0, 0, ''}
end
local grant = open_record(record)
local permits, ends, start, elsewhere = grant.permits, grant.ends, grant.start, grant.elsewhere
if now_us >= math.max(tonumber(grant.deadline), ends or 0) + MARGIN_US then
  return {UNKNOWN, 0, 0, 0, ''}
end
if not grant.head then
  return {NOT_HELD, permits, 0, 0, ''}
end
if string.match(grant.tail, '^settled') then
  return {SETTLED, permits, 0, 0, elsewhere}
end

local held = held_by(grant)
if not held[1] and elsewhere == '' then
  return {NOT_HELD, permits, 0, 0, ''}
end
if now_us >= ends and operation ~= 'release' then
  return {operation == 'renew' and LOST or LATE, permits, 0, 0, ''}
end

local writes = {}
local function put(each, state)
  if state ~= each.state then
    writes[#writes + 1] = {each, state}
  end
end

for _, each in ipairs(held) do
  local algorithm = ALGORITHMS[each.rule[1]]
  local until_us, own = open_state(each.state)
  if operation == 'settle' and algorithm.settle and cost ~= permits then
    put(each, blocked_state(algorithm.settle(own, cost - permits, each.rule, start, now_us), until_us, now_us))
  elseif operation ~= 'renew' and algorithm.release then
    put(each, blocked_state(algorithm.release(own, each.rule, now_us, holder), until_us, now_us))
  elseif operation == 'renew' and algorithm.renew then
    local renewed = algorithm.renew(own, each.rule, now_us, holder)
    if not renewed then
      return {LOST, permits, 0, 0, ''}
    end
    local ttl_us = each.rule[1] == 'concurrency' and each.rule[3] or each.rule[4]
    ends = math.max(ends, now_us + ttl_us)
    put(each, blocked_state(renewed, until_us, now_us))
  end
end

if operation == 'renew' and elsewhere ~= '' then
  ends = math.max(ends, now_us + ends - start) -- what is held there is held as long as before
end
local after = record
if operation == 'settle' then
  after = string.format('%s:%d:%s|%.0f:%.0f|settled', grant.deadline, cost, grant.owner, ends, start)
  after = elsewhere == '' and after or after .. '|@' .. elsewhere
elseif operation == 'renew' then
  after = string.format('%s|%.0f:%.0f|%s', grant.head, ends, start, grant.tail)
end
-- Redis allows UNLINK when it has no memory left, and with it what follows.
redis.call('UNLINK', KEYS[1])
local life_us = math.max(tonumber(grant.deadline), ends) - now_us + MARGIN_US
redis.call('SET', KEYS[1], after, 'PX', math.ceil(math.max(MARGIN_US, life_us) / 1000))
for _, write in ipairs(writes) do
  write_bucket(write[1], write[2], now_us)
end
return {DONE, operation == 'settle' and cost or permits, ends - now_us, #writes, elsewhere}
