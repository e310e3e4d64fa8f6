-- concurrency: permits that are held at a time (same steps as domain/concurrency.py).
--
-- state    holder:until:permits,holder:until:permits, oldest first
-- rule     {'concurrency', limit, ttl us, 0, 0}; limit <= 1,000
-- cost     O(holds); holds <= limit

--@include holds

local concurrency = {}

-- Returns allowed, remaining, reset_after_us, retry_after_us, state after it.
function concurrency.take(state, permits, rule, now_us, holder)
  local holds = read_holds(state or '', now_us)
  local free = rule[2] - held(holds)
  if permits > free then
    return false, math.max(0, free), reset_in(holds, now_us), free_in(holds, permits - free, now_us), state
  end
  if permits == 0 then
    return true, math.max(0, free), reset_in(holds, now_us), 0, state
  end
  holds[#holds + 1] = {holder, now_us + rule[3], permits}
  return true, free - permits, reset_in(holds, now_us), 0, write_holds(holds)
end

-- The state without what this one holds; nil: nobody holds anything.
function concurrency.release(state, rule, now_us, holder)
  local left = released(read_holds(state or '', now_us), holder)
  return left[1] and write_holds(left) or nil
end

-- The state when this one holds on; nil: it holds nothing any more.
function concurrency.renew(state, rule, now_us, holder)
  local holds = read_holds(state or '', now_us)
  return renewed(holds, holder, now_us + rule[3]) and write_holds(holds) or nil
end
