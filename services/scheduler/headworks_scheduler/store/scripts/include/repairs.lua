-- repairs: how many of which kind were made, for the answer of a script.

local repairs = {}
local function repaired(kind, by)
  repairs[kind] = (repairs[kind] or 0) + (by or 1)
end

-- Adds kind, number, kind, number, ... to a reply.
local function report(reply)
  for kind, n in pairs(repairs) do
    reply[#reply + 1], reply[#reply + 2] = kind, n
  end
  return reply
end
