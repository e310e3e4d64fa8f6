-- circuit_breaker: nothing is let through to who fails (same steps as domain/circuit_breaker.py).
--
-- state    closed:start:good:failed | open:until:0:0 | half:until:sent:good
-- rule     {'circuit_breaker', failures in a hundred * 1,000,000 + calls, window us, open us, probes}

local circuit_breaker = {}

local function read_breaker(state, now_us)
  if not state then
    return 'closed', 0, 0, 0
  end
  local phase, at, first, second = string.match(state, '^(%a+):(%d+):(%d+):(%d+)$')
  at = tonumber(at)
  if phase ~= 'closed' and now_us >= at then
    return 'half', now_us, 0, 0
  end
  return phase, at, tonumber(first), tonumber(second)
end

-- Returns allowed, remaining, reset_after_us, retry_after_us, state after it.
function circuit_breaker.take(state, permits, rule, now_us)
  local phase, ends, sent, good = read_breaker(state, now_us)
  if phase == 'closed' then
    return true, 1000000000, 0, 0, state
  end
  local left = phase == 'half' and rule[5] - sent or 0
  if left <= 0 and permits > 0 then
    return false, 0, ends - now_us, ends - now_us, state
  end
  if permits == 0 then
    return true, math.max(0, left), math.max(0, ends - now_us), 0, state
  end
  ends = sent > 0 and ends or now_us + rule[4]
  return true, left - 1, ends - now_us, 0, string.format('half:%d:%d:%d', ends, sent + 1, good)
end

-- The state after an answer of this kind; nil: closed.
function circuit_breaker.report(state, kind, latency_us, rule, now_us)
  local phase, at, first, second = read_breaker(state, now_us)
  local failed = kind == FAILURE
  if phase == 'open' or not (failed or kind == OK) then
    return state
  end
  local opened = string.format('open:%d:0:0', now_us + rule[4])
  if phase == 'half' then
    if failed then
      return opened
    end
    return second + 1 < rule[5] and string.format('half:%d:%d:%d', at, first, second + 1) or nil
  end
  if at == 0 or now_us >= at + rule[3] then
    at, first, second = now_us, 0, 0
  end
  first, second = first + (failed and 0 or 1), second + (failed and 1 or 0)
  local share, calls = math.floor(rule[2] / 1000000), rule[2] % 1000000
  if first + second >= calls and 100 * second >= share * (first + second) then
    return opened
  end
  return string.format('closed:%d:%d:%d', at, first, second)
end

-- How long to keep a state beyond its reset: counts until their window ends; who failed is not trusted for a day.
function circuit_breaker.keep(state, rule, now_us)
  local phase, at = read_breaker(state, now_us)
  return phase == 'closed' and at + rule[3] - now_us or KEPT_US
end
