"""No interval of a period holds more than the limit, and what is refused is refused for a reason."""

from __future__ import annotations

from headworks_limiter.domain.sliding_window_log import SlidingWindowLog, take
from hypothesis import assume, given
from hypothesis import strategies as st

SECOND_US = 1_000_000
START_US = 1_772_323_199_000_000
MINUTE = SlidingWindowLog(5, 60 * SECOND_US)
logs = st.builds(SlidingWindowLog, limit=st.integers(1, 20), period_us=st.sampled_from([1_000, 60 * SECOND_US]))
steps = st.lists(st.tuples(st.integers(-SECOND_US, 30 * SECOND_US), st.integers(1, 20)), max_size=60)


def test_permits_come_back_one_period_after_each_grant() -> None:
    outcome, state = take(None, 3, MINUTE, START_US)
    assert (outcome, state) == ((True, 2, 60 * SECOND_US, 0), f"{START_US}:3")
    later_us = START_US + 10 * SECOND_US
    outcome, state = take(state, 2, MINUTE, later_us)
    assert (outcome, state) == ((True, 0, 60 * SECOND_US, 0), f"{START_US}:3,{later_us}:2")
    assert take(state, 1, MINUTE, later_us)[0] == (False, 0, 60 * SECOND_US, 50 * SECOND_US)
    assert take(state, 4, MINUTE, later_us)[0] == (False, 0, 60 * SECOND_US, 60 * SECOND_US)
    outcome, state = take(state, 3, MINUTE, START_US + 60 * SECOND_US)
    assert (outcome, state) == ((True, 0, 60 * SECOND_US, 0), f"{later_us}:2,{START_US + 60 * SECOND_US}:3")


def test_a_grant_is_one_entry_whatever_it_costs() -> None:
    state = None
    for _ in range(5):
        _, state = take(state, 1, MINUTE, START_US)
    assert state == f"{START_US}:5"


def test_a_changed_limit_or_period_takes_effect_at_once() -> None:
    _, state = take(None, 5, MINUTE, START_US)
    half_us = START_US + 30 * SECOND_US
    assert take(state, 1, SlidingWindowLog(7, 60 * SECOND_US), half_us)[0].remaining == 1
    assert take(state, 1, SlidingWindowLog(3, 60 * SECOND_US), half_us)[0] == (False, 0, 30 * SECOND_US, 30 * SECOND_US)
    assert take(state, 0, SlidingWindowLog(3, 60 * SECOND_US), half_us)[0] == (False, 0, 30 * SECOND_US, 30 * SECOND_US)
    assert take(state, 5, SlidingWindowLog(5, 30 * SECOND_US), half_us)[0].allowed


def test_a_look_tells_the_same_and_changes_nothing() -> None:
    assert take(None, 0, MINUTE, START_US) == ((True, 5, 0, 0), None)
    _, state = take(None, 2, MINUTE, START_US)
    assert take(state, 0, MINUTE, START_US) == ((True, 3, 60 * SECOND_US, 0), state)


def test_a_clock_that_steps_back_grants_nothing_and_keeps_the_order() -> None:
    _, state = take(None, 4, MINUTE, START_US)
    outcome, state = take(state, 1, MINUTE, START_US - SECOND_US)
    assert (outcome, state) == ((True, 0, 61 * SECOND_US, 0), f"{START_US}:5")
    assert take(state, 1, MINUTE, START_US - SECOND_US)[0] == (False, 0, 61 * SECOND_US, 61 * SECOND_US)


@given(logs, steps)
def test_no_interval_of_a_period_holds_more_than_the_limit(
    params: SlidingWindowLog, walk: list[tuple[int, int]]
) -> None:
    state, now_us, latest_us = None, START_US, 0
    grants: list[tuple[int, int]] = []
    for passed_us, permits in walk:
        now_us += passed_us
        latest_us = max(latest_us, now_us)
        permits = min(permits, params.limit)
        outcome, after = take(state, permits, params, now_us)
        inside = sum(taken for at_us, taken in grants if at_us > latest_us - params.period_us)
        assert 0 <= outcome.remaining <= params.limit
        assert outcome.allowed == (outcome.retry_after_us == 0)
        if outcome.allowed:
            assert inside + permits <= params.limit
            grants.append((latest_us, permits))
        else:
            assert after == state
            if now_us == latest_us:
                assert inside + permits > params.limit
        state = after


@given(logs, steps, st.integers(1, 20))
def test_waiting_for_retry_after_is_enough_and_a_microsecond_less_is_not(
    params: SlidingWindowLog, walk: list[tuple[int, int]], wanted: int
) -> None:
    state, now_us = None, START_US
    for passed_us, permits in walk:
        now_us += passed_us
        _, state = take(state, min(permits, params.limit), params, now_us)
    wanted = min(wanted, params.limit)
    outcome, _ = take(state, wanted, params, now_us)
    assume(not outcome.allowed)
    assert not take(state, wanted, params, now_us + outcome.retry_after_us - 1)[0].allowed
    assert take(state, wanted, params, now_us + outcome.retry_after_us)[0].allowed
