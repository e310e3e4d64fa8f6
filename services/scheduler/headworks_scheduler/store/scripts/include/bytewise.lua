-- bytewise: the order of sorted sets.

-- Whether name a goes before name b. Byte by byte: `<` follows the server's locale, sorted sets do not.
local function precedes(a, b)
  for i = 1, math.min(#a, #b) do
    local of_a, of_b = string.byte(a, i), string.byte(b, i)
    if of_a ~= of_b then
      return of_a < of_b
    end
  end
  return #a < #b
end
