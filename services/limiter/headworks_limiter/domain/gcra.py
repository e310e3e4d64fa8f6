"""GCRA: permits come back evenly, `limit` of them every `period_us`, up to `burst` at a time.

Source: ITU-T I.371, annex A, the generic cell rate algorithm in its continuous-state leaky bucket form. The theoretical
arrival time of the virtual scheduling form is `at + level / rate`; the level is stored instead, because it counts
permits and therefore survives a change of the thresholds.

All numbers are whole. With g = gcd(limit, period), a permit is `period / g` units and a microsecond drains `limit / g`
of them, so no rate is ever rounded: neither 130 a second nor 3 in 7 seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self

from headworks_limiter.domain import calendar
from headworks_limiter.domain.calendar import Level
from headworks_limiter.domain.outcome import RuleOutcome

MAX_UNITS = 2**53 - 1
"""A full bucket has at most this many units: the largest number that Lua counts to exactly."""


@dataclass(frozen=True)
class Gcra:
    """The thresholds of one rule. `permit_units`, `us_units` and `capacity_units` follow from the others."""

    limit: int
    period_us: int
    burst: int
    permit_units: int = field(init=False)
    us_units: int = field(init=False)
    capacity_units: int = field(init=False)

    def __post_init__(self) -> None:
        common = math.gcd(self.limit, self.period_us)
        object.__setattr__(self, "permit_units", self.period_us // common)
        object.__setattr__(self, "us_units", self.limit // common)
        object.__setattr__(self, "capacity_units", self.burst * (self.period_us // common))

    @property
    def capacity(self) -> int:
        """Permits a full bucket holds."""
        return self.burst

    @property
    def exact(self) -> bool:
        """Whether the script can compute with these thresholds without rounding."""
        return self.capacity_units <= MAX_UNITS and self.us_units <= MAX_UNITS

    @property
    def kind(self) -> str:
        """What of it makes its buckets others."""
        return "gcra"

    @property
    def thresholds(self) -> tuple[str | int, ...]:
        """As the script takes them."""
        return "gcra", self.permit_units, self.us_units, self.burst, 0

    def share(self, replicas: int) -> Self:
        """The part of one replica among `replicas` that cannot see each other; at least one permit."""
        return type(self)(max(1, self.limit // replicas), self.period_us, max(1, self.burst // replicas))


def take(state: str | None, permits: int, params: Gcra, now_us: int) -> tuple[RuleOutcome, str | None]:
    """Take `permits` (0 to the capacity; 0 only looks), if the bucket has them; otherwise the state stays as it is.

    A state is `at:level:permit_units`: how many units were taken at the microsecond `at`, and how many a permit was
    then; what is promised for later follows, see `calendar`. None is a full bucket. While the clock is behind `at`
    nothing drains, so stepping back never grants. A changed limit applies at once to the permits already taken; a part
    of a permit then counts as a whole one.
    """
    level = _read(state, params, now_us)
    room, wanted = calendar.room(level, params.capacity_units, params.us_units), permits * params.permit_units
    if permits and wanted > room:
        retry_at = calendar.earliest(level, wanted, params.capacity_units, params.us_units)
        return _outcome(params, level, room, now_us, retry_at - now_us), state
    if permits == 0:
        return _outcome(params, level, room, now_us, 0), state
    level = level._replace(level=level.level + wanted)
    return _outcome(params, level, room - wanted, now_us, 0), calendar.write(level, params.permit_units)


def earliest(state: str | None, permits: int, params: Gcra, from_us: int, now_us: int) -> int | None:
    """The first time, `from_us` or later, for which so many permits can be promised; None: too much is already."""
    level = _read(state, params, now_us)
    if len(level.booked) >= calendar.MAX_BOOKINGS:
        return None
    level = calendar.advance(level, max(level.at, from_us), params.us_units)
    return calendar.earliest(level, permits * params.permit_units, params.capacity_units, params.us_units)


def book(state: str | None, permits: int, params: Gcra, start_us: int, now_us: int) -> str:
    """The state after so many permits were promised for a time that `earliest` gave."""
    level = calendar.promise(_read(state, params, now_us), start_us, permits * params.permit_units)
    return calendar.write(level, params.permit_units)


def settle(state: str | None, more: int, params: Gcra, start_us: int, now_us: int) -> str | None:
    """The state when a grant that began at `start_us` cost so many permits more, or if negative fewer, than it took.

    What has drained since cannot come back, nor what is more than the bucket holds be taken.
    """
    level = _read(state, params, now_us)
    units = abs(more) * params.permit_units
    if more > 0:
        level = level._replace(level=min(params.capacity_units, level.level + units))
    elif start_us > level.at:
        level = calendar.withdraw(level, start_us, units)
    else:
        back = max(0, units - (level.at - start_us) * params.us_units)
        level = level._replace(level=max(0, level.level - back))
    return calendar.write(level, params.permit_units)


def _read(state: str | None, params: Gcra, now_us: int) -> Level:
    return calendar.read(state, params.permit_units, params.burst, params.us_units, now_us)


def _outcome(params: Gcra, level: Level, room: int, now_us: int, retry_after_us: int) -> RuleOutcome:
    reset_at = calendar.drained(level, 0, params.us_units)
    return RuleOutcome(retry_after_us == 0, max(0, room) // params.permit_units, reset_at - now_us, retry_after_us)
