"""Lengths of time as rules name them, and the ends of the windows they cut time into."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date

DAY_US = 86_400_000_000
WEEK_US = 7 * DAY_US
MONDAY_US = 4 * DAY_US
"""1970-01-05, the first Monday of the epoch."""

MIN_US = 1_000
MAX_US = 3660 * DAY_US
MAX_MONTHS = 120

_UNITS_US = {
    "ms": 1_000,
    "s": 1_000_000,
    "second": 1_000_000,
    "m": 60_000_000,
    "minute": 60_000_000,
    "h": 3_600_000_000,
    "hour": 3_600_000_000,
    "d": DAY_US,
    "day": DAY_US,
    "w": WEEK_US,
    "week": WEEK_US,
}
_UNITS_MONTHS = {"month": 1, "year": 12}
_TEXT = re.compile(r"(?:([1-9][0-9]{0,11}) ?)?([a-z]+)")
SYNTAX = "a number and a unit (ms, s, m, h, d, w, second to week, month, year), 1ms to 10 years, like 30s or 3 months"

_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Period:
    """`us` microseconds, or, where that is 0, `months` months of the calendar in UTC."""

    us: int = 0
    months: int = 0

    @property
    def origin_us(self) -> int:
        """Where a calendar window of this length once began: the epoch, or its first Monday for whole weeks."""
        return MONDAY_US if self.us and self.us % WEEK_US == 0 else 0


def parse(text: str) -> Period | None:
    """The period that `text` names, as SYNTAX says; None where it names none."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    count, unit = int(match[1] or 1), match[2]
    if unit not in _UNITS_US and unit not in _UNITS_MONTHS and unit.endswith("s"):
        unit = unit[:-1]
    if unit in _UNITS_MONTHS:
        months = count * _UNITS_MONTHS[unit]
        return Period(months=months) if months <= MAX_MONTHS else None
    us = count * _UNITS_US.get(unit, 0)
    return Period(us=us) if MIN_US <= us <= MAX_US else None


def calendar_end(now_us: int, period: Period) -> int:
    """The end of the calendar's window that holds `now_us`, in microseconds since the epoch."""
    if period.us:
        begun_us = (now_us - period.origin_us) % period.us
        return now_us - begun_us + period.us
    today = date.fromordinal(_EPOCH + now_us // DAY_US)
    month = (today.year - 1970) * 12 + today.month - 1
    return _day(month - month % period.months + period.months, 1) * DAY_US


def end_after(now_us: int, period: Period) -> int:
    """The end of a window that begins now; months later on the same day, or on the last day of a shorter month."""
    if period.us:
        return now_us + period.us
    days, of_day_us = divmod(now_us, DAY_US)
    today = date.fromordinal(_EPOCH + days)
    return _day((today.year - 1970) * 12 + today.month - 1 + period.months, today.day) * DAY_US + of_day_us


def _day(month: int, day: int) -> int:
    """Days since the epoch of the `day`-th (or the last) day of the `month`-th month since the epoch."""
    year, index = 1970 + month // 12, month % 12 + 1
    return date(year, index, min(day, calendar.monthrange(year, index)[1])).toordinal() - _EPOCH
