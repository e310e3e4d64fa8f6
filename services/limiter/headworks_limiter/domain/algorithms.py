"""The algorithms behind one face: a bucket's state is text, and taking permits is a function of it."""

from __future__ import annotations

from headworks_limiter.domain import fixed_window, gcra, sliding_window_log
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.sliding_window_log import SlidingWindowLog

Params = Gcra | FixedWindow | SlidingWindowLog
"""The thresholds of a rule; their type says which algorithm it is."""


def take(state: str | None, permits: int, params: Params, now_us: int) -> tuple[RuleOutcome, str | None]:
    """Take `permits`, 0 to `params.capacity`, from a bucket; returns what the rule says and the state after it.

    None is the state of a bucket that is full, or was never used. The state that comes back is the one that went in
    unless permits were taken. Never grants more because time stepped back.
    """
    if isinstance(params, Gcra):
        return gcra.take(state, permits, params, now_us)
    if isinstance(params, SlidingWindowLog):
        return sliding_window_log.take(state, permits, params, now_us)
    return fixed_window.take(state, permits, params, now_us)
