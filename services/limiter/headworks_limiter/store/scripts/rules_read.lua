-- rules_read: the latest version of every namespace's rules, unless nothing has changed.
--
-- KEYS[1]  rules  hash: what the admin API has put, see docs/redis.md
-- ARGV[1]  known  the mark of what the caller has read; "" for nothing
--
-- returns  {mark}: it is the known one, or "" as there are no rules;
--          {mark, namespace, version, "<at_us> <entry>", ...} in the order in which namespaces came
-- effect   none
-- cost     O(1) when nothing has changed, else O(bytes of the entries)

local rules, known = KEYS[1], ARGV[1]

local head = redis.call('HMGET', rules, '/born', '/version', '/namespaces')
if not head[2] then
  return {''}
end
local mark = head[1] .. ':' .. head[2]
if mark == known then
  return {mark}
end
local found = {mark}
for namespace in string.gmatch(head[3], '%S+') do
  local version = string.match(redis.call('HGET', rules, namespace .. '/'), '%d+$')
  found[#found + 1] = namespace
  found[#found + 1] = version
  found[#found + 1] = redis.call('HGET', rules, namespace .. '/' .. version)
end
return found
