"""Tokens come a handful at a time, are kept up to the burst, and never because time stepped back."""

from __future__ import annotations

from headworks_limiter.domain.token_bucket import TokenBucket, take
from hypothesis import assume, given
from hypothesis import strategies as st

SECOND_US = 1_000_000
START_US = 1_772_323_199_000_000
TEN_A_MINUTE = TokenBucket(10, 60 * SECOND_US, 25)
buckets = st.builds(
    TokenBucket,
    limit=st.integers(1, 20),
    period_us=st.sampled_from([1_000, 60 * SECOND_US]),
    burst=st.integers(1, 50),
)
steps = st.lists(st.tuples(st.integers(-SECOND_US, 90 * SECOND_US), st.integers(1, 50)), max_size=60)


def test_tokens_come_at_once_every_period_up_to_the_burst() -> None:
    outcome, state = take(None, 25, TEN_A_MINUTE, START_US)
    assert (outcome, state) == ((True, 0, 180 * SECOND_US, 0), f"{START_US}:25")
    late_us = START_US + 60 * SECOND_US - 1
    assert take(state, 1, TEN_A_MINUTE, late_us)[0] == (False, 0, 120 * SECOND_US + 1, 1)
    outcome, after = take(state, 4, TEN_A_MINUTE, late_us + 1)
    assert (outcome, after) == ((True, 6, 120 * SECOND_US, 0), f"{START_US + 60 * SECOND_US}:19")
    assert take(after, 7, TEN_A_MINUTE, late_us + 1)[0] == (False, 6, 120 * SECOND_US, 60 * SECOND_US)
    assert take(after, 25, TEN_A_MINUTE, late_us + 1)[0] == (False, 6, 120 * SECOND_US, 120 * SECOND_US)
    assert take(state, 0, TEN_A_MINUTE, START_US + 3_600 * SECOND_US) == ((True, 25, 0, 0), state)


def test_the_intervals_begin_again_with_the_first_token_of_a_full_bucket() -> None:
    _, state = take(None, 1, TEN_A_MINUTE, START_US)
    again_us = START_US + 100 * SECOND_US
    assert take(state, 1, TEN_A_MINUTE, again_us) == ((True, 24, 60 * SECOND_US, 0), f"{again_us}:1")


def test_a_changed_limit_takes_effect_at_once() -> None:
    _, state = take(None, 20, TEN_A_MINUTE, START_US)
    assert take(state, 0, TokenBucket(10, 60 * SECOND_US, 40), START_US)[0].remaining == 20
    assert take(state, 1, TokenBucket(10, 60 * SECOND_US, 15), START_US)[0] == (
        False,
        0,
        120 * SECOND_US,
        60 * SECOND_US,
    )
    assert take(state, 6, TokenBucket(1, 60 * SECOND_US, 25), START_US)[0].retry_after_us == 60 * SECOND_US


def test_what_lua_cannot_count_to_is_not_exact() -> None:
    year_us = 365 * 86_400 * SECOND_US
    assert TokenBucket(1, year_us, 71).exact
    assert not TokenBucket(1, year_us, 72).exact


@given(buckets, steps)
def test_no_interval_holds_more_than_the_burst_and_what_came_meanwhile(
    params: TokenBucket, walk: list[tuple[int, int]]
) -> None:
    state, now_us, latest_us = None, START_US, 0
    grants: list[tuple[int, int]] = []
    for passed_us, permits in walk:
        now_us += passed_us
        latest_us = max(latest_us, now_us)
        permits = min(permits, params.burst)
        outcome, after = take(state, permits, params, now_us)
        assert 0 <= outcome.remaining <= params.burst
        assert outcome.allowed == (outcome.retry_after_us == 0)
        if outcome.allowed:
            grants.append((latest_us, permits))
        else:
            assert after == state
        state = after
    for first, (since_us, _) in enumerate(grants):
        taken = 0
        for at_us, permits in grants[first:]:
            taken += permits
            assert taken <= params.burst + params.limit * ((at_us - since_us) // params.period_us + 1)


@given(buckets, steps, st.integers(1, 50))
def test_waiting_for_retry_after_is_enough_and_a_microsecond_less_is_not(
    params: TokenBucket, walk: list[tuple[int, int]], wanted: int
) -> None:
    state, now_us = None, START_US
    for passed_us, permits in walk:
        now_us += passed_us
        _, state = take(state, min(permits, params.burst), params, now_us)
    wanted = min(wanted, params.burst)
    look, outcome = take(state, 0, params, now_us)[0], take(state, wanted, params, now_us)[0]
    full_us = now_us + look.reset_after_us
    assert take(state, 0, params, full_us)[0].remaining == params.burst
    assert look.reset_after_us == 0 or take(state, 0, params, full_us - 1)[0].remaining < params.burst
    assume(not outcome.allowed)
    assert not take(state, wanted, params, now_us + outcome.retry_after_us - 1)[0].allowed
    assert take(state, wanted, params, now_us + outcome.retry_after_us)[0].allowed
