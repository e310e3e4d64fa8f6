"""Adaptive concurrency: how much may be held at a time is learnt from what callers report.

Source: additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the increase and decrease algorithms for
congestion avoidance in computer networks", 1989), as Netflix' concurrency-limits applies it to requests: a success adds
one permit for each limit's worth of successes, as long as at least half of the limit is in use; an overload, a failure
or an answer that was too slow takes a share away.

Where latency is to be learnt, good answers move the limit by the Gradient2 of the same library: towards itself times
the ratio of the usual latency to this answer's (1.5 times the usual is usual still, and a half is the least), and a few
permits more, which find out whether there is room; a fifth of the way for each limit's worth of answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from headworks_limiter.domain import holds
from headworks_limiter.domain.holds import Hold
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.upstream import Kind

MILLI = 1_000
LEARN = -1
"""In place of a latency: learn what is usual."""
USUAL_OF, USUAL_LIMITS = 100, 10
"""The usual latency is an average over so many answers, or ten limits' worth if that is more; the latest count most."""
PROBING = 4
"""Permits beyond what the latency says."""
LONGEST_US = 600_000_000
"""Answers that took longer count as if they had taken so long."""
UNSURE_US = 1_000_000
"""What a caller is told to wait who wants more than the limit of the moment: it grows by reports, not by time."""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """The thresholds of one rule. It begins with `most` permits."""

    least: int
    most: int
    ttl_us: int
    latency_us: int = 0
    """An answer that took longer counts as an overload; 0: no answer is too slow; LEARN."""

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

    A state is `milli/holder:until:permits,...`: the limit in thousandths of a permit, and who holds what; with
    `~usual` behind `milli`, the usual latency in thousandths of a microsecond.
    """
    milli, usual, there = _read(state, params, now_us)
    limit = milli // MILLI
    free = limit - holds.held(there)
    if permits > free:
        wait_us = holds.free_in(there, permits - free, now_us)
        wait_us = max(wait_us, UNSURE_US) if permits > limit else wait_us
        return RuleOutcome(False, max(0, free), holds.reset_in(there, now_us), wait_us), state
    if permits == 0:
        return RuleOutcome(True, max(0, free), holds.reset_in(there, now_us), 0), state
    there.append(Hold(holder, now_us + params.ttl_us, permits))
    return RuleOutcome(True, free - permits, holds.reset_in(there, now_us), 0), _write(milli, usual, there)


def release(state: str | None, params: Adaptive, now_us: int, holder: str) -> str | None:
    """The state without what this one holds."""
    milli, usual, there = _read(state, params, now_us)
    return _write(milli, usual, holds.released(there, holder))


def renew(state: str | None, params: Adaptive, now_us: int, holder: str) -> str | None:
    """The state when this one holds on for another `ttl_us`; None: it holds nothing any more."""
    milli, usual, there = _read(state, params, now_us)
    renewed = holds.renewed(there, holder, now_us + params.ttl_us)
    return _write(milli, usual, renewed) if renewed else None


def report(state: str | None, kind: Kind, latency_us: int, params: Adaptive, now_us: int) -> str | None:
    """The state after an answer of this kind came in so many microseconds (0: unknown)."""
    milli, usual, there = _read(state, params, now_us)
    slow = 0 < params.latency_us < latency_us
    busy = 2 * MILLI * holds.held(there) >= milli
    if kind is Kind.OVERLOAD or kind is Kind.FAILURE or slow:
        milli = max(params.least * MILLI, milli * 9 // 10)
    elif kind is Kind.OK and params.latency_us == LEARN and latency_us:
        sample = min(latency_us, LONGEST_US) * MILLI
        usual = usual + (sample - usual) // max(USUAL_OF, USUAL_LIMITS * milli // MILLI) if usual else sample
        usual = usual * 95 // 100 if usual > 2 * sample else usual  # it has become quicker: soon forget the slow times
        milli = _followed(milli, usual, sample, params) if busy else milli
    elif kind is Kind.OK and busy:
        milli = min(params.most * MILLI, milli + MILLI * MILLI // milli)
    return _write(milli, usual, there)


def _followed(milli: int, usual: int, sample: int, params: Adaptive) -> int:
    """The limit after a good answer of this latency."""
    ratio = max(500, min(1_000, usual * 1_500 // sample))
    wanted = milli * ratio // 1_000 + PROBING * MILLI
    return min(params.most * MILLI, max(params.least * MILLI, milli + (wanted - milli) * 200 // milli))


def _read(state: str | None, params: Adaptive, now_us: int) -> tuple[int, int, list[Hold]]:
    head, _, text = (state or "").partition("/")
    milli, _, usual = head.partition("~")
    learnt = int(milli) if milli else params.most * MILLI
    bounded = min(params.most * MILLI, max(params.least * MILLI, learnt))
    return bounded, int(usual or 0) if params.latency_us == LEARN else 0, holds.read(text, now_us)


def _write(milli: int, usual: int, there: list[Hold]) -> str:
    return f"{milli}{f'~{usual}' if usual else ''}/{holds.write(there)}"
