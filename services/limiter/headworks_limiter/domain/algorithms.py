"""The algorithms behind one face: a bucket's state is text, and taking permits is a function of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headworks_limiter.domain import fixed_window, gcra, sliding_window_counter, sliding_window_log, token_bucket
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.sliding_window_counter import SlidingWindowCounter
from headworks_limiter.domain.sliding_window_log import SlidingWindowLog
from headworks_limiter.domain.token_bucket import TokenBucket

Params = Gcra | TokenBucket | FixedWindow | SlidingWindowLog | SlidingWindowCounter
"""The thresholds of a rule; their type says which algorithm it is."""

_TAKE: dict[type[Params], Callable[[str | None, int, Any, int], tuple[RuleOutcome, str | None]]] = {
    Gcra: gcra.take,
    TokenBucket: token_bucket.take,
    FixedWindow: fixed_window.take,
    SlidingWindowLog: sliding_window_log.take,
    SlidingWindowCounter: sliding_window_counter.take,
}


def take(state: str | None, permits: int, params: Params, now_us: int) -> tuple[RuleOutcome, str | None]:
    """Take `permits`, 0 to `params.capacity`, from a bucket; returns what the rule says and the state after it.

    None is the state of a bucket that is full, or was never used. The state that comes back is the one that went in
    unless permits were taken. Never grants more because time stepped back.
    """
    return _TAKE[type(params)](state, permits, params, now_us)
