"""GCRA keeps its promises for every rate, cost and order of calls."""

from __future__ import annotations

import math

from headworks_limiter.domain.gcra import MAX_UNITS, Gcra, take
from hypothesis import assume, given
from hypothesis import strategies as st

SECOND_US = 1_000_000
NOW_US = 1_772_323_199_000_000

rates = st.builds(
    Gcra,
    limit=st.integers(1, 1_000),
    period_us=st.sampled_from([1_000, SECOND_US, 7 * SECOND_US, 60 * SECOND_US, 86_399_999_999]),
    burst=st.integers(1, 50),
)
steps = st.lists(st.tuples(st.integers(-SECOND_US, 3 * SECOND_US), st.integers(1, 50)), max_size=60)


def test_a_full_bucket_gives_its_burst_and_then_refuses() -> None:
    params = Gcra(limit=10, period_us=SECOND_US, burst=3)
    state = None
    remaining = []
    for _ in range(3):
        outcome, state = take(state, 1, params, NOW_US)
        assert outcome.allowed
        remaining.append(outcome.remaining)
    assert remaining == [2, 1, 0]

    outcome, after = take(state, 1, params, NOW_US)
    assert outcome == (False, 0, 300_000, 100_000)
    assert after == state


def test_a_rate_that_no_interval_expresses_is_kept_exactly() -> None:
    params = Gcra(limit=130, period_us=SECOND_US, burst=1)
    state, now_us = None, NOW_US
    for _ in range(130):
        outcome, state = take(state, 1, params, now_us)
        assert outcome.allowed
        now_us += take(state, 1, params, now_us)[0].retry_after_us
    assert now_us - NOW_US - SECOND_US < 130  # each wait is rounded up by less than a microsecond


def test_three_in_seven_seconds_are_three_in_seven_seconds() -> None:
    params = Gcra(limit=3, period_us=7 * SECOND_US, burst=3)
    state = None
    for _ in range(3):
        _, state = take(state, 1, params, NOW_US)
    taken_at = []
    for now_us in range(NOW_US, NOW_US + 7 * SECOND_US + 1, 1_000):
        outcome, state = take(state, 1, params, now_us)
        if outcome.allowed:
            taken_at.append(now_us - NOW_US)
    assert taken_at == [2_334_000, 4_667_000, 7_000_000]


def test_a_raised_limit_counts_what_was_taken_and_strands_nothing() -> None:
    slow = Gcra(limit=10, period_us=3_600 * SECOND_US, burst=10)
    _, state = take(None, 10, slow, NOW_US)

    fast = Gcra(limit=10, period_us=SECOND_US, burst=20)
    outcome, _ = take(state, 10, fast, NOW_US)
    assert outcome.allowed
    assert outcome.remaining == 0
    assert take(state, 20, fast, NOW_US)[0].retry_after_us == SECOND_US


def test_a_lowered_limit_gives_nothing_twice() -> None:
    _, state = take(None, 60, Gcra(limit=100, period_us=SECOND_US, burst=100), NOW_US)

    lower = Gcra(limit=80, period_us=3_600 * SECOND_US, burst=80)
    assert take(state, 1, lower, NOW_US)[0].remaining == 19
    lowest = Gcra(limit=50, period_us=3_600 * SECOND_US, burst=50)
    outcome, _ = take(state, 1, lowest, NOW_US)
    assert outcome == (False, 0, 3_600 * SECOND_US, 72 * SECOND_US)


def test_a_look_tells_the_same_and_changes_nothing() -> None:
    params = Gcra(limit=10, period_us=SECOND_US, burst=10)
    assert take(None, 0, params, NOW_US) == ((True, 10, 0, 0), None)
    _, state = take(None, 4, params, NOW_US)
    assert take(state, 0, params, NOW_US) == ((True, 6, 400_000, 0), state)


def test_thresholds_beyond_exact_counting_are_known() -> None:
    day_us = 86_400 * SECOND_US
    assert Gcra(limit=1_000_000, period_us=day_us, burst=1_000_000).exact
    assert not Gcra(limit=1_000_003, period_us=day_us, burst=1_000_003).exact
    assert Gcra(limit=1_000_003, period_us=day_us, burst=MAX_UNITS // day_us).exact


@given(rates, steps)
def test_in_any_interval_at_most_burst_and_rate_are_granted(params: Gcra, walk: list[tuple[int, int]]) -> None:
    state, now_us, latest_us = None, NOW_US, 0
    grants: list[tuple[int, int]] = []
    for passed_us, permits in walk:
        now_us += passed_us
        latest_us = max(latest_us, now_us)  # time that went back is no time gained
        outcome, state = take(state, min(permits, params.burst), params, now_us)
        if outcome.allowed:
            grants.append((latest_us, min(permits, params.burst)))
    for first in range(len(grants)):
        granted = 0
        for at_us, permits in grants[first:]:
            granted += permits
            assert (
                granted * params.period_us
                <= params.burst * params.period_us + (at_us - grants[first][0]) * params.limit
            )


@given(rates, steps, st.integers(1, 50))
def test_waiting_for_retry_after_is_enough_and_a_microsecond_less_is_not(
    params: Gcra, walk: list[tuple[int, int]], wanted: int
) -> None:
    state, now_us = None, NOW_US
    for passed_us, permits in walk:
        now_us += passed_us
        _, state = take(state, min(permits, params.burst), params, now_us)
    wanted = min(wanted, params.burst)
    outcome, _ = take(state, wanted, params, now_us)
    assume(not outcome.allowed)
    assert not take(state, wanted, params, now_us + outcome.retry_after_us - 1)[0].allowed
    assert take(state, wanted, params, now_us + outcome.retry_after_us)[0].allowed


@given(rates, steps)
def test_what_is_told_stays_in_range_and_a_refusal_changes_nothing(params: Gcra, walk: list[tuple[int, int]]) -> None:
    state, now_us = None, NOW_US
    for passed_us, permits in walk:
        now_us += passed_us
        outcome, after = take(state, min(permits, params.burst), params, now_us)
        assert 0 <= outcome.remaining <= params.burst
        assert outcome.allowed == (outcome.retry_after_us == 0)
        assert outcome.reset_after_us >= outcome.retry_after_us >= 0
        if not outcome.allowed:
            assert after == state
        state = after


@given(rates, steps)
def test_a_bucket_is_full_again_after_its_reset_and_not_before(params: Gcra, walk: list[tuple[int, int]]) -> None:
    state, now_us = None, NOW_US
    for passed_us, permits in walk:
        now_us += passed_us
        _, state = take(state, min(permits, params.burst), params, now_us)
    assume(state is not None)
    reset_us = take(state, 0, params, now_us)[0].reset_after_us
    assume(reset_us > 0)
    assert take(state, 0, params, now_us + reset_us)[0] == (True, params.burst, 0, 0)
    assert take(state, 0, params, now_us + reset_us - 1)[0].remaining < params.burst


@given(rates, rates, st.integers(1, 50), st.integers(0, 10 * SECOND_US))
def test_a_changed_limit_neither_gives_back_nor_takes_away_permits(
    before: Gcra, after: Gcra, permits: int, passed_us: int
) -> None:
    permits = min(permits, before.burst)
    _, state = take(None, permits, before, NOW_US)
    remaining = take(state, 0, after, NOW_US)[0].remaining
    assert remaining == max(0, after.burst - permits)
    longest_us = math.ceil(after.burst * after.period_us / after.limit)
    assert take(state, 0, after, NOW_US + longest_us)[0].remaining == after.burst


@given(rates, st.integers(1, 50), st.integers(1, 10**12))
def test_time_that_steps_back_grants_nothing(params: Gcra, permits: int, back_us: int) -> None:
    permits = min(permits, params.burst)
    _, state = take(None, permits, params, NOW_US)
    now, then = take(state, 0, params, NOW_US)[0], take(state, 0, params, NOW_US - back_us)[0]
    assert then.remaining == now.remaining
    assert then.reset_after_us == now.reset_after_us + back_us
