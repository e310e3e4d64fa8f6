-- rules_put: put a new version of one namespace's rules.
--
-- KEYS[1]  rules           hash: what the admin API has put, see docs/redis.md
-- ARGV[1]  namespace
-- ARGV[2]  expected        the namespace's latest version, 0 for none; "" for whatever there is
-- ARGV[3]  entry           JSON with text, deleted, author, comment
-- ARGV[4]  namespaces_max  namespaces that there may be
-- ARGV[5]  kept            versions of a namespace that stay, >= 1
--
-- returns  {1, version}: it is the latest now, new unless the latest had the same text;
--          {0, version}: not the expected one, but this; {-1, 0}: too many namespaces
-- effect   writes everything in one command, then forgets the version that is one too many; no TTL
-- cost     O(bytes of the entry and of the latest one)

local rules, namespace, expected, entry = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local namespaces_max, kept = tonumber(ARGV[4]), tonumber(ARGV[5])

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local head = redis.call('HMGET', rules, '/born', '/version', '/namespaces', namespace .. '/')
local born, namespaces = head[1] or string.format('%d', now_us), head[3] or ''
local versions = {}
for version in string.gmatch(head[4] or '', '%d+') do
  versions[#versions + 1] = version
end
local latest = tonumber(versions[#versions] or 0)

if latest > 0 then
  local stored = redis.call('HGET', rules, namespace .. '/' .. versions[#versions])
  local old, new = cjson.decode(string.match(stored, '^%d+ (.*)$')), cjson.decode(entry)
  if old.text == new.text and old.deleted == new.deleted then
    return {1, latest}
  end
end
if expected ~= '' and tonumber(expected) ~= latest then
  return {0, latest}
end
if latest == 0 then
  local _, count = string.gsub(namespaces, '%S+', '')
  if count >= namespaces_max then
    return {-1, 0}
  end
  namespaces = namespaces .. ' ' .. namespace
end

local version = string.format('%d', tonumber(head[2] or 0) + 1)
versions[#versions + 1] = version
local gone = #versions > kept and table.remove(versions, 1)
redis.call('HSET', rules, '/born', born, '/version', version, '/namespaces', namespaces,
  namespace .. '/', table.concat(versions, ' '), namespace .. '/' .. version, string.format('%d ', now_us) .. entry)
if gone then
  redis.call('HDEL', rules, namespace .. '/' .. gone)
end
return {1, tonumber(version)}
