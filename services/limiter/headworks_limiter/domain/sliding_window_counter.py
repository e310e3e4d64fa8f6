"""Sliding window counter: two numbers that stand for a log of any length.

Source: Cloudflare, "How we built rate limiting capable of scaling to millions of domains", 2017. What was taken in the
window before the present one counts by the share of it that the last period still covers, as if it had been taken
evenly. So a window holds at most `limit` permits, and no interval of one period holds two windows' permits.

The share is counted in whole ticks of the window, rounded up, so that all numbers are exact; a tick is a microsecond
unless `limit * period_us` is more than Lua can count to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from headworks_limiter.domain.outcome import RuleOutcome

MAX_UNITS = (2**53 - 1) // 3
"""`limit * ticks` is at most this: three such products can be added exactly in Lua."""


@dataclass(frozen=True)
class SlidingWindowCounter:
    """The thresholds of one rule. `tick_us` and `ticks` follow from the others."""

    limit: int
    period_us: int
    tick_us: int = field(init=False)
    ticks: int = field(init=False)

    def __post_init__(self) -> None:
        tick_us = max(1, _ceil(self.period_us, MAX_UNITS // self.limit))
        object.__setattr__(self, "tick_us", tick_us)
        object.__setattr__(self, "ticks", _ceil(self.period_us, tick_us))

    @property
    def capacity(self) -> int:
        """Permits a full bucket holds."""
        return self.limit

    @property
    def kind(self) -> str:
        """What of it makes its buckets others."""
        return f"sliding_window_counter-{self.period_us}us"

    @property
    def thresholds(self) -> tuple[str | int, ...]:
        """As the script takes them."""
        return "sliding_window_counter", self.limit, self.period_us, self.tick_us, self.ticks

    def share(self, replicas: int) -> Self:
        """The part of one replica among `replicas` that cannot see each other; at least one permit."""
        return type(self)(max(1, self.limit // replicas), self.period_us)


def take(state: str | None, permits: int, params: SlidingWindowCounter, now_us: int) -> tuple[RuleOutcome, str | None]:
    """Take `permits` (0 to the limit; 0 only looks), if there is room for them; otherwise the state stays as it is.

    A state is `start:before:taken`: permits taken in the window that begins at the microsecond `start`, a multiple of
    the period since the epoch, and in the one before it. None is a full bucket. While the clock is behind `start` the
    window stands at its beginning, so stepping back never grants. A changed limit takes effect at once.
    """
    start, before, taken = _read(state, params, now_us)
    weight = params.ticks - max(0, now_us - start) // params.tick_us
    room = (params.limit - taken) * params.ticks - before * weight
    if permits * params.ticks > room:
        retry_at = start + _until(before, taken, permits, params)
        return _outcome(start, before, taken, max(0, room // params.ticks), retry_at - now_us, params, now_us), state
    remaining = room // params.ticks - permits
    if permits == 0:
        return _outcome(start, before, taken, remaining, 0, params, now_us), state
    taken += permits
    return _outcome(start, before, taken, remaining, 0, params, now_us), f"{start}:{before}:{taken}"


def settle(state: str | None, more: int, params: SlidingWindowCounter, start_us: int, now_us: int) -> str | None:
    """The state when a grant of `start_us` cost so many permits more, or if negative fewer, than it took.

    Only in the window that it was taken from, while that counts, and at most up to the limit.
    """
    start, before, taken = _read(state, params, now_us)
    if start <= start_us < start + params.period_us:
        taken = min(params.limit, max(0, taken + more))
    elif start - params.period_us <= start_us < start:
        before = min(params.limit, max(0, before + more))
    return f"{start}:{before}:{taken}"


def _read(state: str | None, params: SlidingWindowCounter, now_us: int) -> tuple[int, int, int]:
    this = now_us - now_us % params.period_us
    if state is None:
        return this, 0, 0
    start, before, taken = map(int, state.split(":"))
    before, taken = min(before, params.limit), min(taken, params.limit)
    if now_us >= start + 2 * params.period_us:
        return this, 0, 0
    if now_us >= start + params.period_us:
        return start + params.period_us, taken, 0
    return start, before, taken


def _until(before: int, taken: int, permits: int, params: SlidingWindowCounter) -> int:
    """Microseconds from the beginning of the window until there is room: in this window, in the next, after it."""
    tick = _first_tick(before, params.limit - taken - permits, params)
    if tick < params.ticks:
        return tick * params.tick_us
    tick = _first_tick(taken, params.limit - permits, params)
    return params.period_us + (tick * params.tick_us if tick < params.ticks else params.period_us)


def _first_tick(before: int, free: int, params: SlidingWindowCounter) -> int:
    """The first tick of a window at which `before` weighs at most `free`; `ticks`: not in that window."""
    if free < 0:
        return params.ticks
    return 0 if before <= free else params.ticks - free * params.ticks // before


def _outcome(
    start: int,
    before: int,
    taken: int,
    remaining: int,
    retry_after_us: int,
    params: SlidingWindowCounter,
    now_us: int,
) -> RuleOutcome:
    windows = 2 if taken else 1 if before else 0
    reset_after_us = start + windows * params.period_us - now_us if windows else 0
    return RuleOutcome(retry_after_us == 0, remaining, reset_after_us, retry_after_us)


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
