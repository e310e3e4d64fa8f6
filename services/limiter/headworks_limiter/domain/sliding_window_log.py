"""Sliding window log: at most `limit` permits in any interval of one period, exactly.

Every grant is written down with its time, as one entry whatever it cost, and counts until a period later. A decision
looks at every entry, so the limit has a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from headworks_limiter.domain.outcome import RuleOutcome

MAX_LIMIT = 1_000
"""A log of so many entries is some 20 KB."""


@dataclass(frozen=True, slots=True)
class SlidingWindowLog:
    """The thresholds of one rule."""

    limit: int
    period_us: int

    @property
    def capacity(self) -> int:
        """Permits a full bucket holds."""
        return self.limit

    @property
    def kind(self) -> str:
        """What of it makes its buckets others."""
        return "sliding_window_log"

    @property
    def thresholds(self) -> tuple[str | int, ...]:
        """As the script takes them."""
        return "sliding_window_log", self.limit, self.period_us, 0, 0

    def share(self, replicas: int) -> Self:
        """The part of one replica among `replicas` that cannot see each other; at least one permit."""
        return type(self)(max(1, self.limit // replicas), self.period_us)


def take(state: str | None, permits: int, params: SlidingWindowLog, now_us: int) -> tuple[RuleOutcome, str | None]:
    """Take `permits` (0 to the limit; 0 only looks), if the last period has them; otherwise the state stays as it is.

    A state is `at:taken,at:taken`, oldest first. None is a full bucket. While the clock is behind the last entry, what
    is taken is written down at that entry's time, so stepping back never grants.
    """
    log = [(at, taken) for at, taken in _read(state) if at + params.period_us > now_us]
    taken = sum(count for _, count in log)
    reset_us = log[-1][0] + params.period_us - now_us if log else 0
    missing = permits - (params.limit - taken)
    if missing > 0:
        return RuleOutcome(False, max(0, params.limit - taken), reset_us, _until(log, missing, params, now_us)), state
    if permits == 0:
        return RuleOutcome(True, params.limit - taken, reset_us, 0), state
    if log and log[-1][0] >= now_us:
        log[-1] = (log[-1][0], log[-1][1] + permits)
    else:
        log.append((now_us, permits))
    after = ",".join(f"{at}:{count}" for at, count in log)
    return RuleOutcome(True, params.limit - taken - permits, log[-1][0] + params.period_us - now_us, 0), after


def settle(state: str | None, more: int, params: SlidingWindowLog, start_us: int, now_us: int) -> str | None:
    """The state when a grant of `start_us` cost so many permits more, or if negative fewer, than it took.

    It counts at the time of the grant, if that still counts; there it may be more than the limit.
    """
    log = [(at, taken) for at, taken in _read(state) if at + params.period_us > now_us]
    for index, (at, taken) in enumerate(log):
        if at >= start_us > now_us - params.period_us:
            log[index] = at, max(0, taken + more)
            break
    return ",".join(f"{at}:{count}" for at, count in log if count) or None


def _read(state: str | None) -> list[tuple[int, int]]:
    entries = [entry.split(":") for entry in state.split(",")] if state else []
    return [(int(at), int(taken)) for at, taken in entries]


def _until(log: Sequence[tuple[int, int]], missing: int, params: SlidingWindowLog, now_us: int) -> int:
    """How long until so many permits are back."""
    for at, taken in log:
        missing -= taken
        if missing <= 0:
            return at + params.period_us - now_us
    raise AssertionError("more permits than the limit")
