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
    then. None is a full bucket. While the clock is behind `at` nothing drains, so stepping back never grants. A changed
    limit applies at once to the permits already taken; a part of a permit then counts as a whole one.
    """
    at, level = _read(state, params, now_us)
    behind_us = max(0, at - now_us)
    level = max(0, level - max(0, now_us - at) * params.us_units)
    missing = level - (params.capacity_units - permits * params.permit_units)
    if missing > 0:
        return _outcome(params, level, behind_us, behind_us + _ceil(missing, params.us_units)), state
    if permits == 0:
        return _outcome(params, level, behind_us, 0), state
    level += permits * params.permit_units
    return _outcome(params, level, behind_us, 0), f"{max(at, now_us)}:{level}:{params.permit_units}"


def _read(state: str | None, params: Gcra, now_us: int) -> tuple[int, int]:
    if state is None:
        return now_us, 0
    at, level, permit_units = map(int, state.split(":"))
    if permit_units != params.permit_units:
        level = min(_ceil(level, permit_units), params.burst) * params.permit_units
    return at, min(level, params.capacity_units)


def _outcome(params: Gcra, level: int, behind_us: int, retry_after_us: int) -> RuleOutcome:
    remaining = (params.capacity_units - level) // params.permit_units
    reset_after_us = behind_us + _ceil(level, params.us_units)
    return RuleOutcome(retry_after_us == 0, remaining, reset_after_us, retry_after_us)


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
