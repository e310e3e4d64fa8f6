-- periods: the ends of windows (same answers as domain/periods.py).
--
-- A period is `us` microseconds, or `months` months of the calendar in UTC where `us` is 0.
-- Source of the day numbers: Howard Hinnant, "chrono-compatible low-level date algorithms".

local DAY_US = 86400000000

local function month_and_day(days)
  local shifted = days + 719468
  local era = math.floor(shifted / 146097)
  local of_era = shifted - era * 146097
  local year_of_era = math.floor(
    (of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
  local from_march = math.floor((5 * of_year + 2) / 153)
  local day = of_year - math.floor((153 * from_march + 2) / 5) + 1
  return (year_of_era + era * 400 - 1970) * 12 + from_march + 2, day -- months since January 1970
end

local function first_of(month)
  local from_march = month - 2
  local year = 1970 + math.floor(from_march / 12)
  local era = math.floor(year / 400)
  local year_of_era = year - era * 400
  local of_year = math.floor((153 * (from_march % 12) + 2) / 5)
  local of_era = year_of_era * 365 + math.floor(year_of_era / 4) - math.floor(year_of_era / 100) + of_year
  return era * 146097 + of_era - 719468 -- days since the epoch
end

local function calendar_end(now_us, us, months, origin_us)
  if us > 0 then
    return now_us - (now_us - origin_us) % us + us
  end
  local month = month_and_day(math.floor(now_us / DAY_US))
  return first_of(month - month % months + months) * DAY_US
end

local function end_after(now_us, us, months)
  if us > 0 then
    return now_us + us
  end
  local days = math.floor(now_us / DAY_US)
  local month, day = month_and_day(days)
  local last = first_of(month + months + 1) - 1
  return math.min(first_of(month + months) + day - 1, last) * DAY_US + (now_us - days * DAY_US)
end
