"""Plans hold: every batch is admitted when it is really asked for, and planning ends soon whatever is asked."""

from __future__ import annotations

import time

import pytest
from headworks_limiter.domain.algorithms import Params, take
from headworks_limiter.domain.circuit_breaker import CircuitBreaker
from headworks_limiter.domain.concurrency import Concurrency
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.leaky_bucket import LeakyBucket
from headworks_limiter.domain.periods import Period
from headworks_limiter.domain.plan import Wanted, plan
from headworks_limiter.domain.sliding_window_log import SlidingWindowLog
from headworks_limiter.domain.token_bucket import TokenBucket
from hypothesis import given
from hypothesis import strategies as st

NOW_US = 1_772_323_199_000_000
SECOND_US = 1_000_000
YEAR_US = 365 * 86_400 * SECOND_US

rules = st.one_of(
    st.builds(Gcra, st.integers(1, 50), st.sampled_from([SECOND_US, 60 * SECOND_US]), st.integers(1, 50)),
    st.builds(TokenBucket, st.integers(1, 50), st.sampled_from([SECOND_US, 60 * SECOND_US]), st.integers(1, 50)),
    st.builds(FixedWindow, st.integers(1, 50), st.sampled_from([Period(us=60 * SECOND_US), Period(months=1)])),
    st.builds(SlidingWindowLog, st.integers(1, 50), st.just(60 * SECOND_US)),
)


@given(
    st.lists(st.tuples(rules, st.integers(0, 50)), min_size=1, max_size=3),
    st.integers(1, 500),
    st.integers(1, 50),
    st.integers(0, 50),
    st.integers(1, 3),
)
def test_every_batch_is_admitted_in_its_turn(
    known: list[tuple[Params, int]], items: int, most: int, least: int, permits: int
) -> None:
    buckets = [
        (take(None, min(taken, params.capacity), params, NOW_US)[1], params)
        for params, taken in known
        if params.capacity >= permits
    ]
    wanted = Wanted(items, permits, most, min(least, most), batches=20)
    batches = plan(buckets, wanted, NOW_US)
    assert len(batches) == 20 or sum(batch.items for batch in batches) == items
    assert [batch.start_us for batch in batches] == sorted(batch.start_us for batch in batches)
    states = [state for state, _ in buckets]
    for batch in batches:
        assert 1 <= batch.items <= most
        for index, (_, params) in enumerate(buckets):
            outcome, states[index] = take(states[index], batch.items * permits, params, NOW_US + batch.start_us)
            assert outcome.allowed


@pytest.mark.parametrize(
    ("params", "state"),
    [
        (Gcra(1, YEAR_US, 1), None),
        (Gcra(1, YEAR_US, 1), f"!{NOW_US + SECOND_US}|"),
        (LeakyBucket(10, SECOND_US, 1_000_000), None),
        (FixedWindow(1, Period(months=120)), None),
        (SlidingWindowLog(1_000, YEAR_US), None),
        (CircuitBreaker(50, 1, SECOND_US, SECOND_US, 1), f"open:{NOW_US + SECOND_US}:0:0"),
        (Concurrency(1, SECOND_US), None),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, str) else "known",
)
def test_extreme_plans_end_soon(params: Params, state: str | None) -> None:
    began = time.process_time()
    batches = plan([(state, params)], Wanted(10**9, 1, 10**9, 0, batches=1_000), NOW_US)
    assert batches
    assert all(batch.items for batch in batches)
    assert time.process_time() - began < 5
