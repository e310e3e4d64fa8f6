"""Fixed window: `limit` permits in each window of time, all of them back at its end.

Windows follow the calendar in UTC (minutes begin on the minute, weeks on Monday, months on the 1st), or begin with the
first permit taken. Any interval of one period holds at most two windows' permits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.periods import Period, calendar_end, end_after

FIRST_HIT = -1
"""For the script, in place of where the calendar's windows begin."""
SHORTEST_MONTH_US = 28 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class FixedWindow:
    """The thresholds of one rule."""

    limit: int
    period: Period
    first_hit: bool = False
    """Whether a window begins with the first permit taken, not with the calendar."""

    @property
    def capacity(self) -> int:
        """Permits a full bucket holds."""
        return self.limit

    @property
    def kind(self) -> str:
        """What of it makes its buckets others."""
        length = f"{self.period.months}mo" if self.period.months else f"{self.period.us}us"
        return f"fixed_window-{length}{'-first_hit' if self.first_hit else ''}"

    @property
    def thresholds(self) -> tuple[str | int, ...]:
        """As the script takes them."""
        origin_us = FIRST_HIT if self.first_hit else self.period.origin_us
        return "fixed_window", self.limit, self.period.us, self.period.months, origin_us

    def share(self, replicas: int) -> Self:
        """The part of one replica among `replicas` that cannot see each other; at least one permit."""
        return type(self)(max(1, self.limit // replicas), self.period, self.first_hit)


def left_us(params: FixedWindow, reset_us: int, age_us: int) -> int:
    """How much is left of the window in which permits were taken `age_us` ago; 0: it is over.

    `reset_us` is what is left of today's window. Of months only the shortest is trusted.
    """
    shortest_us = params.period.us or params.period.months * SHORTEST_MONTH_US
    return reset_us if age_us <= shortest_us - reset_us or not age_us else 0


def take(state: str | None, permits: int, params: FixedWindow, now_us: int) -> tuple[RuleOutcome, str | None]:
    """Take `permits` (0 to the limit; 0 only looks), if the window has them; otherwise the state stays as it is.

    A state is `end:taken`: how many permits were taken in the window that ends at the microsecond `end`, which belongs
    to the next one. None is a full bucket. A clock that steps back stays in the stored window, so it never grants.
    """
    end, taken = map(int, state.split(":")) if state else (0, 0)
    if now_us >= end:
        end, taken = 0, 0
    if permits > params.limit - taken:
        return _outcome(params, taken, end - now_us, allowed=False), state
    if permits == 0:
        return _outcome(params, taken, end - now_us, allowed=True), state
    taken += permits
    end = end or (end_after if params.first_hit else calendar_end)(now_us, params.period)
    return _outcome(params, taken, end - now_us, allowed=True), f"{end}:{taken}"


def settle(state: str | None, more: int, params: FixedWindow, start_us: int, now_us: int) -> str | None:
    """The state when a grant of `start_us` cost so many permits more, or if negative fewer, than it took.

    Only in the window that it was taken from; there it may be more than the limit.
    """
    end, taken = map(int, state.split(":")) if state else (0, 0)
    own_end = (end_after if params.first_hit else calendar_end)(start_us, params.period)
    if now_us >= end or start_us >= end or own_end < end:
        return state
    return f"{end}:{max(0, taken + more)}"


def _outcome(params: FixedWindow, taken: int, left_us: int, *, allowed: bool) -> RuleOutcome:
    remaining = max(0, params.limit - taken)
    return RuleOutcome(allowed, remaining, left_us if taken else 0, 0 if allowed else left_us)
