"""Rates as people write them: `5/hour`, `100 per 5 minutes`."""

from __future__ import annotations

import re
from typing import NamedTuple

from headworks_limiter.domain import periods
from headworks_limiter.domain.periods import Period

_RATE = re.compile(r"([1-9][0-9]*(?:[_,][0-9]+)*) ?(?:/| per ) ?(.+)")
SYNTAX = "so many per period, like 5/hour or 100 per 5 minutes"
_NAMES = (("w", 7 * periods.DAY_US), ("d", periods.DAY_US), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000))


class Rate(NamedTuple):
    """So many permits per period."""

    limit: int
    period: Period


def parse(text: str) -> Rate | None:
    """The rate that `text` names, as SYNTAX says; None where it names none."""
    match = _RATE.fullmatch(text.strip())
    period = periods.parse(match[2]) if match else None
    return Rate(int(re.sub("[_,]", "", match[1])), period) if match and period else None


def short(period: Period) -> str:
    """The period in the largest unit that it is whole in: 1h, 90s, 3mo."""
    if period.months:
        return f"{period.months}mo"
    for unit, us in _NAMES:
        if period.us % us == 0:
            return f"{period.us // us}{unit}"
    return f"{period.us // 1_000}ms"
