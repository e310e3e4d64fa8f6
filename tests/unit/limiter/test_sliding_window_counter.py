"""Two windows stand for a log: never more than the limit in one, never two windows' permits in any period."""

from __future__ import annotations

from fractions import Fraction

from headworks_limiter.domain.sliding_window_counter import MAX_UNITS, SlidingWindowCounter, take
from hypothesis import assume, given
from hypothesis import strategies as st

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
START_US = 29_538_720 * MINUTE_US  # a window of a minute begins
TEN_A_MINUTE = SlidingWindowCounter(10, MINUTE_US)
limits = st.one_of(st.integers(1, 20), st.just(10**12))
counters = st.builds(SlidingWindowCounter, limit=limits, period_us=st.sampled_from([1_000, MINUTE_US, 864_000_000_000]))
steps = st.lists(
    st.tuples(st.integers(-SECOND_US, 90 * SECOND_US), st.one_of(st.integers(1, 20), st.just(10**12))), max_size=60
)


def test_the_window_before_counts_by_the_share_that_the_period_still_covers() -> None:
    outcome, state = take(None, 8, TEN_A_MINUTE, START_US + 30 * SECOND_US)
    assert (outcome, state) == ((True, 2, 90 * SECOND_US, 0), f"{START_US}:0:8")
    next_us = START_US + MINUTE_US
    assert take(state, 0, TEN_A_MINUTE, next_us)[0] == (True, 2, MINUTE_US, 0)
    assert take(state, 0, TEN_A_MINUTE, next_us + 30 * SECOND_US)[0] == (True, 6, 30 * SECOND_US, 0)
    outcome, after = take(state, 6, TEN_A_MINUTE, next_us + 30 * SECOND_US)
    assert (outcome, after) == ((True, 0, 90 * SECOND_US, 0), f"{next_us}:8:6")
    assert take(after, 1, TEN_A_MINUTE, next_us + 30 * SECOND_US)[0] == (False, 0, 90 * SECOND_US, 7_500_000)
    assert take(after, 4, TEN_A_MINUTE, next_us + 30 * SECOND_US)[0].retry_after_us == 30 * SECOND_US
    assert take(after, 5, TEN_A_MINUTE, next_us + 30 * SECOND_US)[0].retry_after_us == 40 * SECOND_US
    assert take(after, 10, TEN_A_MINUTE, next_us + 30 * SECOND_US)[0].retry_after_us == 90 * SECOND_US


def test_a_changed_limit_takes_effect_at_once() -> None:
    _, state = take(None, 10, TEN_A_MINUTE, START_US)
    assert take(state, 1, SlidingWindowCounter(12, MINUTE_US), START_US)[0].remaining == 1
    assert take(state, 1, SlidingWindowCounter(5, MINUTE_US), START_US)[0] == (
        False,
        0,
        120 * SECOND_US,
        72 * SECOND_US,
    )


def test_a_clock_that_steps_back_grants_nothing() -> None:
    _, state = take(None, 10, TEN_A_MINUTE, START_US)
    outcome, after = take(state, 1, TEN_A_MINUTE, START_US - 5 * SECOND_US)
    assert (outcome, after) == ((False, 0, 125 * SECOND_US, 71 * SECOND_US), state)


def test_large_limits_are_counted_in_longer_ticks_which_lua_can_add() -> None:
    for limit in (1, 1_000_003, 10**12):
        params = SlidingWindowCounter(limit, 3_660 * 86_400 * SECOND_US)
        assert params.limit * params.ticks <= MAX_UNITS
        assert 0 <= params.ticks * params.tick_us - params.period_us < params.tick_us
    assert TEN_A_MINUTE.tick_us == 1


@given(counters, steps)
def test_a_grant_fits_beside_what_the_last_period_is_taken_to_hold(
    params: SlidingWindowCounter, walk: list[tuple[int, int]]
) -> None:
    state, now_us, latest_us = None, START_US, 0
    grants: list[tuple[int, int]] = []
    for passed_us, permits in walk:
        now_us += passed_us
        latest_us = max(latest_us, now_us)
        permits = min(permits, params.limit)
        outcome, after = take(state, permits, params, now_us)
        assert 0 <= outcome.remaining <= params.limit
        assert outcome.allowed == (outcome.retry_after_us == 0)
        if outcome.allowed:
            window = latest_us // params.period_us
            before = sum(taken for at_us, taken in grants if at_us // params.period_us == window - 1)
            share = 1 - Fraction(latest_us % params.period_us, params.period_us)
            grants.append((latest_us, permits))
            within = sum(taken for at_us, taken in grants if at_us // params.period_us == window)
            assert within + before * share <= params.limit
        else:
            assert after == state
        state = after
    for since_us, _ in grants:
        assert sum(taken for at_us, taken in grants if 0 <= at_us - since_us < params.period_us) < 2 * params.limit + 1


@given(counters, steps, st.integers(1, 20))
def test_waiting_for_retry_after_is_enough_and_a_microsecond_less_is_not(
    params: SlidingWindowCounter, walk: list[tuple[int, int]], wanted: int
) -> None:
    state, now_us = None, START_US
    for passed_us, permits in walk:
        now_us += passed_us
        _, state = take(state, min(permits, params.limit), params, now_us)
    wanted = min(wanted, params.limit)
    look, outcome = take(state, 0, params, now_us)[0], take(state, wanted, params, now_us)[0]
    assert take(state, 0, params, now_us + look.reset_after_us)[0].remaining == params.limit
    assume(not outcome.allowed)
    assert not take(state, wanted, params, now_us + outcome.retry_after_us - 1)[0].allowed
    assert take(state, wanted, params, now_us + outcome.retry_after_us)[0].allowed
