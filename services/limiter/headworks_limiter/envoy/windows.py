"""Windows of Envoy's limits, and what is counted in them. `store/scripts/envoy.lua` takes the same steps.

A window is a slice of the time since the epoch: a day begins at midnight UTC, a week on Thursday (as 1970 did), and a
month and a year are slices of 30 and of 365 days.

Source: envoyproxy/ratelimit, src/utils/utilities.go and src/redis/fixed_cache_impl.go (read for the arithmetic).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

MAX_COUNT = 2**53 - 1
"""Counts stay there: the largest whole number that Lua is sure of."""


class Unit(IntEnum):
    """How long a window is. The numbers are those on the wire."""

    SECOND = 1
    MINUTE = 2
    HOUR = 3
    DAY = 4
    MONTH = 5
    YEAR = 6
    WEEK = 7

    @property
    def seconds(self) -> int:
        """Its length."""
        return _SECONDS[self]


_DAY_S = 86_400
_SECONDS = {
    Unit.SECOND: 1,
    Unit.MINUTE: 60,
    Unit.HOUR: 3_600,
    Unit.DAY: _DAY_S,
    Unit.WEEK: 7 * _DAY_S,
    Unit.MONTH: 30 * _DAY_S,
    Unit.YEAR: 365 * _DAY_S,
}


class Hit(NamedTuple):
    """What one descriptor adds to its counter."""

    key: str
    unit: Unit
    hits: int
    """0 to MAX_COUNT; 0 only looks."""
    negative: bool
    """They are given back."""


class Count(NamedTuple):
    """What the counter says after a hit."""

    hits: int
    """In the window, this one included."""
    reset_s: int
    """Until the window ends, rounded up."""


def count(state: str | None, hit: Hit, now_s: int) -> tuple[Count, str | None]:
    """The count after a hit, and the counter's new state; None: it stays as it is.

    A counter that was written in a later window than `now_s` is in (the clock stepped back) goes on in that one.
    """
    start = now_s - now_s % hit.unit.seconds
    begun, before = (int(part) for part in state.split(":")) if state else (-1, 0)
    if begun < start:
        begun, before = -1, 0
    start = max(start, begun)
    reset_s = start + hit.unit.seconds - now_s
    after = max(before - hit.hits, 0) if hit.negative else min(before + hit.hits, MAX_COUNT)
    changed = hit.hits > 0 and not (hit.negative and begun < 0)
    return Count(after, reset_s), f"{start}:{after}" if changed else None
