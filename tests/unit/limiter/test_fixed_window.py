"""Fixed windows begin and end where they should, and hold what they should."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from headworks_limiter.domain.fixed_window import FixedWindow, take
from headworks_limiter.domain.periods import Period
from hypothesis import assume, given
from hypothesis import strategies as st

SECOND_US = 1_000_000
MINUTE = Period(us=60 * SECOND_US)


def at(*parts: int) -> int:
    """Microseconds since the epoch of a moment in UTC."""
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * SECOND_US  # type: ignore[misc,arg-type]


NOON_US = at(2026, 3, 1, 12)
periods = st.sampled_from([Period(us=1_000), MINUTE, Period(us=7 * 86_400 * SECOND_US), Period(months=1)])
windows = st.builds(FixedWindow, limit=st.integers(1, 20), period=periods, first_hit=st.booleans())
steps = st.lists(st.tuples(st.integers(-SECOND_US, 90 * SECOND_US), st.integers(1, 20)), max_size=60)


def test_a_calendar_window_ends_on_the_minute() -> None:
    params = FixedWindow(5, MINUTE)
    outcome, state = take(None, 5, params, NOON_US + 10 * SECOND_US)
    assert outcome == (True, 0, 50 * SECOND_US, 0)

    last_us = NOON_US + 60 * SECOND_US - 1
    assert take(state, 1, params, last_us)[0] == (False, 0, 1, 1)
    assert take(state, 1, params, last_us + 1)[0] == (True, 4, 60 * SECOND_US, 0)


def test_a_window_from_the_first_hit_ends_a_period_later() -> None:
    params = FixedWindow(5, MINUTE, first_hit=True)
    begun_us = NOON_US + 10 * SECOND_US
    _, state = take(None, 3, params, begun_us)
    outcome, state = take(state, 2, params, begun_us + 59 * SECOND_US)
    assert outcome == (True, 0, SECOND_US, 0)
    assert not take(state, 1, params, begun_us + 60 * SECOND_US - 1)[0].allowed
    assert take(state, 1, params, begun_us + 60 * SECOND_US)[0] == (True, 4, 60 * SECOND_US, 0)


def test_a_changed_limit_keeps_what_was_taken() -> None:
    _, state = take(None, 6, FixedWindow(10, MINUTE), NOON_US)
    assert take(state, 1, FixedWindow(20, MINUTE), NOON_US)[0].remaining == 13
    assert take(state, 1, FixedWindow(5, MINUTE), NOON_US)[0] == (False, 0, 60 * SECOND_US, 60 * SECOND_US)


def test_a_look_tells_the_same_and_changes_nothing() -> None:
    params = FixedWindow(5, MINUTE)
    assert take(None, 0, params, NOON_US) == ((True, 5, 0, 0), None)
    _, state = take(None, 2, params, NOON_US)
    assert take(state, 0, params, NOON_US) == ((True, 3, 60 * SECOND_US, 0), state)


@pytest.mark.parametrize("first_hit", [False, True])
def test_a_clock_that_steps_back_over_the_edge_stays_in_the_window(first_hit: bool) -> None:
    params = FixedWindow(2, MINUTE, first_hit)
    _, state = take(None, 2, params, NOON_US)
    outcome, after = take(state, 1, params, NOON_US - 1)
    assert outcome == (False, 0, 60 * SECOND_US + 1, 60 * SECOND_US + 1)
    assert after == state


@given(windows, steps)
def test_a_window_holds_its_limit_and_no_interval_more_than_two(
    params: FixedWindow, walk: list[tuple[int, int]]
) -> None:
    state, now_us, latest_us = None, NOON_US, 0
    grants: list[tuple[int, int]] = []
    for passed_us, permits in walk:
        now_us += passed_us
        latest_us = max(latest_us, now_us)
        permits = min(permits, params.limit)
        outcome, after = take(state, permits, params, now_us)
        assert 0 <= outcome.remaining <= params.limit
        assert outcome.allowed == (outcome.retry_after_us == 0)
        assert outcome.reset_after_us >= outcome.retry_after_us
        if outcome.allowed:
            grants.append((latest_us, permits))
        else:
            assert after == state
        state = after
    shortest_us = params.period.us or 28 * 86_400 * SECOND_US
    for first in range(len(grants)):
        inside = [permits for at_us, permits in grants[first:] if at_us < grants[first][0] + shortest_us]
        assert sum(inside) <= 2 * params.limit


@given(windows, steps, st.integers(1, 20))
def test_waiting_for_retry_after_is_enough_and_a_microsecond_less_is_not(
    params: FixedWindow, walk: list[tuple[int, int]], wanted: int
) -> None:
    state, now_us = None, NOON_US
    for passed_us, permits in walk:
        now_us += passed_us
        _, state = take(state, min(permits, params.limit), params, now_us)
    wanted = min(wanted, params.limit)
    outcome, _ = take(state, wanted, params, now_us)
    assume(not outcome.allowed)
    assert not take(state, wanted, params, now_us + outcome.retry_after_us - 1)[0].allowed
    assert take(state, wanted, params, now_us + outcome.retry_after_us)[0].allowed
