"""Adaptive concurrency: how much may be held at a time is learnt from what callers report.

Source: additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the increase and decrease algorithms for
congestion avoidance in computer networks", 1989), as Netflix' concurrency-limits applies it to requests: a success adds
one permit for each limit's worth of successes, as long as at least half of the limit is in use; an overload, a failure
or an answer that was too slow takes a share away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from headworks_limiter.domain import holds
from headworks_limiter.domain.holds import Hold
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.upstream import Kind

MILLI = 1_000
UNSURE_US = 1_000_000
"""What a caller is told to wait who wants more than the limit of the moment: it grows by reports, not by time."""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """The thresholds of one rule. It begins with `most` permits."""

    least: int
    most: int
    ttl_us: int
    latency_us: int = 0
    """An answer that took longer counts as an overload; 0: no answer is too slow."""

    @property
    def capacity(self) -> int:
        """Permits that may be held at best."""
        return self.most

    @property
    def kind(self) -> str:
        """What of it makes its buckets others."""
        return "adaptive"

    @property
    def thresholds(self) -> tuple[str | int, ...]:
        """As the script takes them."""
        return "adaptive", self.least, self.most, self.ttl_us, self.latency_us

    def share(self, replicas: int) -> Self:
        """The part of one replica among `replicas` that cannot see each other; at least one permit."""
        return type(self)(max(1, self.least // replicas), max(1, self.most // replicas), self.ttl_us, self.latency_us)


def take(
    state: str | None, permits: int, params: Adaptive, now_us: int, holder: str = ""
) -> tuple[RuleOutcome, str | None]:
    """Hold `permits` (0 to `most`; 0 only looks), if the limit of the moment allows; otherwise the state stays.

    A state is `milli/holder:until:permits,...`: the limit in thousandths of a permit, and who holds what.
    """
    milli, there = _read(state, params, now_us)
    limit = milli // MILLI
    free = limit - holds.held(there)
    if permits > free:
        wait_us = holds.free_in(there, permits - free, now_us)
        wait_us = max(wait_us, UNSURE_US) if permits > limit else wait_us
        return RuleOutcome(False, max(0, free), holds.reset_in(there, now_us), wait_us), state
    if permits == 0:
        return RuleOutcome(True, max(0, free), holds.reset_in(there, now_us), 0), state
    there.append(Hold(holder, now_us + params.ttl_us, permits))
    return RuleOutcome(True, free - permits, holds.reset_in(there, now_us), 0), _write(milli, there)


def release(state: str | None, params: Adaptive, now_us: int, holder: str) -> str | None:
    """The state without what this one holds."""
    milli, there = _read(state, params, now_us)
    return _write(milli, holds.released(there, holder))


def renew(state: str | None, params: Adaptive, now_us: int, holder: str) -> str | None:
    """The state when this one holds on for another `ttl_us`; None: it holds nothing any more."""
    milli, there = _read(state, params, now_us)
    renewed = holds.renewed(there, holder, now_us + params.ttl_us)
    return _write(milli, renewed) if renewed else None


def report(state: str | None, kind: Kind, latency_us: int, params: Adaptive, now_us: int) -> str | None:
    """The state after an answer of this kind came in so many microseconds (0: unknown)."""
    milli, there = _read(state, params, now_us)
    slow = 0 < params.latency_us < latency_us
    if kind is Kind.OVERLOAD or kind is Kind.FAILURE or slow:
        milli = max(params.least * MILLI, milli * 9 // 10)
    elif kind is Kind.OK and 2 * MILLI * holds.held(there) >= milli:
        milli = min(params.most * MILLI, milli + MILLI * MILLI // milli)
    return _write(milli, there)


def _read(state: str | None, params: Adaptive, now_us: int) -> tuple[int, list[Hold]]:
    milli, _, text = (state or "").partition("/")
    learnt = int(milli) if milli else params.most * MILLI
    return min(params.most * MILLI, max(params.least * MILLI, learnt)), holds.read(text, now_us)


def _write(milli: int, there: list[Hold]) -> str:
    return f"{milli}/{holds.write(there)}"
