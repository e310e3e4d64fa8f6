-- token_bucket: permits that come `limit` at once every period (same steps as domain/token_bucket.py).
--
-- state    at:taken
-- rule     {'token_bucket', limit, period us, burst, 0}; a full bucket takes less than 2^51 us to fill

local token_bucket = {}

local function read_tokens(state, rule, now_us)
  local limit, period_us, burst = rule[2], rule[3], rule[4]
  local at, taken = now_us, 0
  if state then
    local stored_at, stored_taken = string.match(state, '^(%d+):(%d+)$')
    at, taken = tonumber(stored_at), math.min(tonumber(stored_taken), burst)
    if now_us >= at then
      local fills = math.min(math.floor((now_us - at) / period_us), math.ceil(taken / limit))
      at, taken = at + fills * period_us, math.max(0, taken - fills * limit)
    end
    if taken == 0 then
      at = now_us
    end
  end
  return at, taken
end

-- Returns allowed, remaining, reset_after_us, retry_after_us, state after it.
function token_bucket.take(state, permits, rule, now_us)
  local limit, period_us, burst = rule[2], rule[3], rule[4]
  local at, taken = read_tokens(state, rule, now_us)
  local missing = permits - (burst - taken)
  local retry_after_us = 0
  if missing > 0 then
    retry_after_us = at + math.ceil(missing / limit) * period_us - now_us
  elseif permits > 0 then
    taken = taken + permits
    state = string.format('%d:%d', at, taken)
  end
  return missing <= 0, burst - taken, at + math.ceil(taken / limit) * period_us - now_us, retry_after_us, state
end

-- The state when a grant of start_us cost `more` permits than it took, or if negative fewer.
function token_bucket.settle(state, more, rule, start_us, now_us)
  local at, taken = read_tokens(state, rule, now_us)
  if more < 0 then
    more = math.min(0, more + math.ceil(math.max(0, now_us - start_us) / rule[3]) * rule[2])
  end
  return string.format('%d:%d', at, math.min(rule[4], math.max(0, taken + more)))
end
