-- wire: the fields of serialised protobuf messages, at their top level.

-- A number, and where the next field begins; nil if the bytes end before.
local function varint(bytes, at)
  local value, scale = 0, 1
  while true do
    local byte = string.byte(bytes, at)
    if not byte then
      return nil
    end
    at = at + 1
    if byte < 128 then
      return value + byte * scale, at
    end
    value, scale = value + (byte - 128) * scale, scale * 128
  end
end

-- The fields in order, each {number, first byte, last byte, value}: a number, or where the value's bytes begin.
-- nil if the bytes are no message.
local function wire_fields(bytes)
  local fields, at = {}, 1
  while at <= #bytes do
    local tag, from = varint(bytes, at)
    local kind = tag and tag % 8
    local value, upto = from, nil
    if kind == 0 then
      value, upto = varint(bytes, from)
    elseif kind == 1 or kind == 5 then
      upto = from + (kind == 1 and 8 or 4)
    elseif kind == 2 then
      local n
      n, value = varint(bytes, from)
      upto = n and value + n
    end
    if not upto or upto > #bytes + 1 then
      return nil
    end
    fields[#fields + 1] = {(tag - kind) / 8, at, upto - 1, value}
    at = upto
  end
  return fields
end

-- The message without one of its fields; as it is if it is none.
local function without(bytes, number)
  local kept = {}
  for _, field in ipairs(wire_fields(bytes) or {{0, 1, #bytes}}) do
    if field[1] ~= number then
      kept[#kept + 1] = string.sub(bytes, field[2], field[3])
    end
  end
  return table.concat(kept)
end
