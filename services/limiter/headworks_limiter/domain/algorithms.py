"""The algorithms behind one face: a bucket's state is text, and what happens to it is a function of it.

An upstream that wants to be left alone blocks a bucket until a time; then `!until|` stands before its own state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from headworks_limiter.domain import (
    adaptive,
    circuit_breaker,
    concurrency,
    fixed_window,
    gcra,
    leaky_bucket,
    sliding_window_counter,
    sliding_window_log,
    token_bucket,
)
from headworks_limiter.domain.adaptive import Adaptive
from headworks_limiter.domain.circuit_breaker import CircuitBreaker
from headworks_limiter.domain.concurrency import Concurrency
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.leaky_bucket import LeakyBucket
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.sliding_window_counter import SlidingWindowCounter
from headworks_limiter.domain.sliding_window_log import SlidingWindowLog
from headworks_limiter.domain.token_bucket import TokenBucket
from headworks_limiter.domain.upstream import Kind

Rate = Gcra | TokenBucket | FixedWindow | SlidingWindowLog | SlidingWindowCounter
Held = Concurrency | Adaptive
Params = Rate | LeakyBucket | Held | CircuitBreaker
"""The thresholds of a rule; their type says which algorithm it is."""
HELD = (Concurrency, Adaptive)
"""Those that count what is under way: a grant holds its permits until it is released."""
QUEUES = (LeakyBucket,)
"""Those that say when, without being asked to wait."""
REPORTED = (Adaptive, CircuitBreaker)
"""Those that learn from reports, besides being blocked by them."""

_BLOCKED = "!"


class _Algorithm(NamedTuple):
    take: Callable[[str | None, int, Any, int], tuple[RuleOutcome, str | None]]
    settle: Callable[[str | None, int, Any, int, int], str | None] | None = None
    earliest: Callable[[str | None, int, Any, int, int], int | None] | None = None
    book: Callable[[str | None, int, Any, int, int], str] | None = None


_RATES: dict[type[Any], _Algorithm] = {
    Gcra: _Algorithm(gcra.take, gcra.settle, gcra.earliest, gcra.book),
    LeakyBucket: _Algorithm(leaky_bucket.take, leaky_bucket.settle, leaky_bucket.earliest, leaky_bucket.book),
    TokenBucket: _Algorithm(token_bucket.take, token_bucket.settle),
    FixedWindow: _Algorithm(fixed_window.take, fixed_window.settle),
    SlidingWindowLog: _Algorithm(sliding_window_log.take, sliding_window_log.settle),
    SlidingWindowCounter: _Algorithm(sliding_window_counter.take, sliding_window_counter.settle),
    CircuitBreaker: _Algorithm(circuit_breaker.take),
}


def take(
    state: str | None, permits: int, params: Params, now_us: int, holder: str = ""
) -> tuple[RuleOutcome, str | None]:
    """Take `permits`, 0 to `params.capacity`, from a bucket; returns what the rule says and the state after it.

    None is the state of a bucket that is full, or was never used. The state that comes back is the one that went in
    unless permits were taken. Never grants more because time stepped back. `holder` is the grant's id, for those that
    are HELD.
    """
    if state is None or state[0] != _BLOCKED:
        return _take(state, permits, params, now_us, holder)
    until, own = _open(state)
    if now_us >= until:
        outcome, after = _take(own, permits, params, now_us, holder)
        return outcome, after if outcome.allowed and permits else state
    then = _take(own, permits, params, until, holder)[0]
    wait_us = until - now_us
    retry_us = wait_us + then.retry_after_us if permits else 0
    return RuleOutcome(not permits, 0, wait_us + then.reset_after_us, retry_us), state


def earliest(state: str | None, permits: int, params: Params, from_us: int, now_us: int) -> int | None:
    """The first time, `from_us` or later, for which permits can be promised; None: they cannot be, now or at all."""
    way = _RATES.get(type(params))
    if way is None or way.earliest is None:
        return None
    until, own = _open(state)
    return way.earliest(own, permits, params, max(from_us, until), now_us)


def book(state: str | None, permits: int, params: Params, start_us: int, now_us: int) -> str:
    """The state after permits were promised for a time that `earliest` gave."""
    way = _RATES[type(params)]
    assert way.book is not None
    until, own = _open(state)
    return _blocked(way.book(own, permits, params, start_us, now_us), until, now_us) or ""


def settle(state: str | None, more: int, params: Params, start_us: int, now_us: int) -> str | None:
    """The state when a grant that began at `start_us` cost `more` permits than it took, or if negative fewer.

    What it took counts where it was taken: nothing comes back in a later window, nor what has drained since.
    """
    way = _RATES.get(type(params))
    if way is None or way.settle is None or not more:
        return state
    until, own = _open(state)
    return _blocked(way.settle(own, more, params, start_us, now_us), until, now_us)


def release(state: str | None, params: Params, now_us: int, holder: str) -> str | None:
    """The state without what this grant holds."""
    if not isinstance(params, HELD):
        return state
    until, own = _open(state)
    module: Any = concurrency if isinstance(params, Concurrency) else adaptive
    return _blocked(module.release(own, params, now_us, holder), until, now_us)


def renew(state: str | None, params: Held, now_us: int, holder: str) -> str | None:
    """The state when this grant holds on for another `ttl_us`; None: it holds nothing any more."""
    until, own = _open(state)
    module: Any = concurrency if isinstance(params, Concurrency) else adaptive
    renewed = module.renew(own, params, now_us, holder)
    return renewed and _blocked(renewed, until, now_us)


def report(
    state: str | None,
    params: Params,
    now_us: int,
    *,
    kind: Kind,
    latency_us: int = 0,
    block_us: int = 0,
    remaining: int | None = None,
) -> str | None:
    """The state after an upstream's answer of this kind, which took so long (0: unknown).

    It is blocked for `block_us`, and of a rate no more is left than `remaining`.
    """
    until, own = _open(state)
    if isinstance(params, Adaptive):
        own = adaptive.report(own, kind, latency_us, params, now_us)
    elif isinstance(params, CircuitBreaker):
        own = circuit_breaker.report(own, kind, latency_us, params, now_us)
    elif remaining is not None and not isinstance(params, (LeakyBucket, Concurrency)):
        over = _take(own, 0, params, now_us, "")[0].remaining - remaining
        own = _take(own, over, params, now_us, "")[1] if over > 0 else own
    if isinstance(params, REPORTED):
        return _blocked(own, until, now_us)
    return _blocked(own, max(until, now_us + block_us), now_us)


def blocked_until(state: str | None) -> int:
    """Until when it is blocked, in microseconds since the epoch; 0: it is not."""
    return _open(state)[0]


def _take(state: str | None, permits: int, params: Params, now_us: int, holder: str) -> tuple[RuleOutcome, str | None]:
    way = _RATES.get(type(params))
    if way is not None:
        return way.take(state, permits, params, now_us)
    if isinstance(params, Concurrency):
        return concurrency.take(state, permits, params, now_us, holder)
    assert isinstance(params, Adaptive)
    return adaptive.take(state, permits, params, now_us, holder)


def _open(state: str | None) -> tuple[int, str | None]:
    """Until when it is blocked (0: it is not), and the bucket's own state."""
    if state is None or state[0] != _BLOCKED:
        return 0, state
    until, _, own = state[1:].partition("|")
    return int(until), own or None


def _blocked(own: str | None, until: int, now_us: int) -> str | None:
    return f"{_BLOCKED}{until}|{own or ''}" if until > now_us else own
