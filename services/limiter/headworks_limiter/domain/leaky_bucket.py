"""Leaky bucket as a queue: permits leave one by one, `limit` of them every `period_us`, and wait their turn.

Source: Turner, "New directions in communications (or which way to the information age?)", 1986, in the form that
shapes traffic: where gcra refuses what comes too early, this says *when*. Up to `queue` permits are on their way at a
time, the one that leaves included; what comes then is refused. Numbers as in `gcra`: whole units, no rate is rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Self

from headworks_limiter.domain import calendar
from headworks_limiter.domain.calendar import Level
from headworks_limiter.domain.gcra import MAX_UNITS
from headworks_limiter.domain.outcome import RuleOutcome


@dataclass(frozen=True)
class LeakyBucket:
    """The thresholds of one rule. `permit_units` and `us_units` follow from the others."""

    limit: int
    period_us: int
    queue: int
    permit_units: int = field(init=False)
    us_units: int = field(init=False)

    def __post_init__(self) -> None:
        common = math.gcd(self.limit, self.period_us)
        object.__setattr__(self, "permit_units", self.period_us // common)
        object.__setattr__(self, "us_units", self.limit // common)

    @property
    def capacity(self) -> int:
        """Permits that may be on their way."""
        return self.queue

    @property
    def queue_units(self) -> int:
        """The same in units."""
        return self.queue * self.permit_units

    @property
    def exact(self) -> bool:
        """Whether the script can compute with these thresholds without rounding."""
        return self.queue_units <= MAX_UNITS and self.us_units <= MAX_UNITS

    @property
    def kind(self) -> str:
        """What of it makes its buckets others."""
        return "leaky_bucket"

    @property
    def thresholds(self) -> tuple[str | int, ...]:
        """As the script takes them."""
        return "leaky_bucket", self.permit_units, self.us_units, self.queue, 0

    def share(self, replicas: int) -> Self:
        """The part of one replica among `replicas` that cannot see each other; at least one permit."""
        return type(self)(max(1, self.limit // replicas), self.period_us, max(1, self.queue // replicas))


def take(state: str | None, permits: int, params: LeakyBucket, now_us: int) -> tuple[RuleOutcome, str | None]:
    """Take `permits` (0 to the queue; 0 only looks), if they may leave at once; otherwise the state stays as it is.

    A state is gcra's, its level what has not left. `retry_after` says when they may leave, or, where the queue has no
    room, when it will. Who would rather queue asks `earliest` and `book`.
    """
    level, wanted = _read(state, params, now_us), permits * params.permit_units
    free = params.queue_units - level.owed
    if permits and wanted > free:
        room_at = calendar.drained(level, params.queue_units - wanted, params.us_units)
        return _outcome(params, level, free, now_us, room_at - now_us), state
    if permits and not (level.at <= now_us and calendar.fits(level, wanted, 0, params.us_units)):
        turn_at = calendar.earliest(level, wanted, 0, params.us_units)
        return _outcome(params, level, free, now_us, max(1, turn_at - now_us)), state
    if permits == 0:
        return _outcome(params, level, free, now_us, 0), state
    level = level._replace(level=level.level + wanted)
    return _outcome(params, level, free - wanted, now_us, 0), calendar.write(level, params.permit_units)


def earliest(state: str | None, permits: int, params: LeakyBucket, from_us: int, now_us: int) -> int | None:
    """The first time, `from_us` or later, at which it is the turn of so many permits; None: the queue is full."""
    level, wanted = _read(state, params, now_us), permits * params.permit_units
    if level.owed + wanted > params.queue_units or len(level.booked) >= calendar.MAX_BOOKINGS:
        return None
    level = calendar.advance(level, max(level.at, from_us), params.us_units)
    return calendar.earliest(level, wanted, 0, params.us_units)


def book(state: str | None, permits: int, params: LeakyBucket, start_us: int, now_us: int) -> str:
    """The state after so many permits joined the queue, to leave at a time that `earliest` gave."""
    level, wanted = _read(state, params, now_us), permits * params.permit_units
    if level.booked or start_us > level.at - (-level.level // params.us_units):
        level = calendar.promise(level, start_us, wanted)
    else:
        level = level._replace(level=level.level + wanted)
    return calendar.write(level, params.permit_units)


def settle(state: str | None, more: int, params: LeakyBucket, start_us: int, now_us: int) -> str | None:
    """The state when a grant that leaves at `start_us` cost so many permits more, or if negative fewer, than it took.

    Others have been told when it is their turn. So only what has not left comes back, if nobody queues behind it.
    """
    level, units = _read(state, params, now_us), abs(more) * params.permit_units
    if more > 0:
        level = level._replace(level=min(params.queue_units, level.level + units))
    elif start_us > level.at and not level.booked:
        if start_us == level.at - (-(level.level - units) // params.us_units):
            level = level._replace(level=level.level - units)
    elif start_us > level.at and level.booked[-1][0] == start_us:
        level = calendar.withdraw(level, start_us, units)
    return calendar.write(level, params.permit_units)


def _read(state: str | None, params: LeakyBucket, now_us: int) -> Level:
    return calendar.read(state, params.permit_units, params.queue, params.us_units, now_us)


def _outcome(params: LeakyBucket, level: Level, free: int, now_us: int, retry_after_us: int) -> RuleOutcome:
    reset_at = calendar.drained(level, 0, params.us_units)
    return RuleOutcome(retry_after_us == 0, max(0, free) // params.permit_units, reset_at - now_us, retry_after_us)
