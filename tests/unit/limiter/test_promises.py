"""What gcra and leaky buckets promise for later they keep, whoever comes between, gives back or settles."""

from __future__ import annotations

from dataclasses import dataclass

from headworks_limiter.domain import calendar, gcra, leaky_bucket
from headworks_limiter.domain.calendar import Level
from headworks_limiter.domain.decision import Answer, Mode, Terms, decide
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.leaky_bucket import LeakyBucket
from hypothesis import assume, given
from hypothesis import strategies as st

NOW_US = 1_772_323_199_000_000
rates = st.builds(Gcra, limit=st.integers(1, 7), period_us=st.sampled_from([5, 11, 60]), burst=st.integers(1, 6))
lines = st.builds(LeakyBucket, limit=st.integers(1, 7), period_us=st.sampled_from([5, 11, 60]), queue=st.integers(1, 9))


@dataclass
class Grant:
    """Permits that begin at a time; what they have cost may change."""

    start_us: int
    permits: int


steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "wait", "wait", "settle", "give back"]),
        st.integers(0, 30),
        st.integers(1, 6),
        st.integers(0, 80),
        st.integers(0, 10),
    ),
    max_size=40,
)
Steps = list[tuple[str, int, int, int, int]]


def granted(module: object, params: Gcra | LeakyBucket, todo: Steps) -> list[Grant]:
    """What such callers get from one bucket, at its true cost, in the order in which they asked."""
    state, now_us, grants = None, NOW_US, list[Grant]()
    for what, passed_us, permits, wait_us, index in todo:
        now_us += passed_us
        permits = min(permits, params.capacity)
        if what in ("take", "wait"):
            terms = Terms(wait_us=wait_us if what == "wait" else 0)
            answer, outcomes, (state,), got, wait = decide([(state, params)], permits, Mode.TAKE, now_us, terms=terms)
            assert 0 <= outcomes[0].remaining <= params.capacity
            assert outcomes[0].reset_after_us >= 0
            if answer is Answer.ALLOWED:
                assert 0 <= wait <= wait_us or isinstance(params, LeakyBucket)
                grants.append(Grant(now_us + wait, got))
        elif grants:
            grant = grants[index % len(grants)]
            cost = 0 if what == "give back" else min(grant.permits, permits)
            before = state
            state = module.settle(state, cost - grant.permits, params, grant.start_us, now_us)  # type: ignore[attr-defined]
            if cost < grant.permits and state != before:
                grant.permits = cost
    return grants


@given(rates, steps)
def test_no_interval_holds_more_than_the_burst_and_what_comes_back_in_it(params: Gcra, todo: Steps) -> None:
    grants = sorted(granted(gcra, params, todo), key=lambda grant: grant.start_us)
    for first, begin in enumerate(grants):
        total = 0
        for end in grants[first:]:
            total += end.permits
            span_us = end.start_us - begin.start_us
            assert total * params.permit_units <= params.capacity_units + span_us * params.us_units


@given(lines, steps)
def test_permits_leave_a_line_one_by_one(params: LeakyBucket, todo: Steps) -> None:
    grants = sorted(granted(leaky_bucket, params, todo), key=lambda grant: grant.start_us)
    for first, begin in enumerate(grants):
        total = 0
        for end in grants[first:]:
            span_us = end.start_us - begin.start_us + 1  # each begins on a whole microsecond
            assert total * params.permit_units <= span_us * params.us_units
            total += end.permits


levels = st.builds(
    lambda level, booked: Level(0, level, sorted(booked)),
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 8)), max_size=4),
)


@given(levels, st.integers(1, 8), st.integers(8, 20), st.integers(1, 3))
def test_the_earliest_time_is_the_earliest(now: Level, units: int, capacity: int, rate: int) -> None:
    def keeps(*more: tuple[int, int]) -> bool:
        """By walking through time."""
        at, level = 0, now.level
        for moment, taken in sorted([*now.booked, *more], key=lambda event: event[0]):
            level = max(0, level - (moment - at) * rate) + taken
            at = moment
            if level > capacity:
                return False
        return True

    assume(now.level <= capacity and keeps())
    start = calendar.earliest(now, units, capacity, rate)
    assert keeps((start, units))
    assume(start <= 200)
    assert not any(keeps((time, units)) for time in range(start))


@given(lines, st.lists(st.integers(0, 40), max_size=20), st.integers(1, 9))
def test_whom_a_full_line_refuses_gets_in_when_it_was_told(params: LeakyBucket, times: list[int], permits: int) -> None:
    state, now_us = None, NOW_US
    for passed_us in times:
        now_us += passed_us
        decided = decide([(state, params)], min(permits, params.queue), Mode.TAKE, now_us)
        state = decided.states[0]
        if decided.answer is Answer.REFUSED:
            retry_us = decided.outcomes[0].retry_after_us
            again = [
                decide([(state, params)], min(permits, params.queue), Mode.LOOK, now_us + retry_us - n) for n in (0, 1)
            ]
            assert [each.answer for each in again] == [Answer.ALLOWED, Answer.REFUSED]


def test_promises_of_one_time_are_given_back_as_one() -> None:
    """Whichever of them it is, and however many permits each has."""
    booked = Level(0, 0, [(5, 1), (9, 2), (9, 5), (9, 1), (12, 4)])
    assert calendar.withdraw(booked, 9, 6) == Level(0, 0, [(5, 1), (9, 2), (12, 4)])
    assert calendar.withdraw(booked, 9, 7) == Level(0, 0, [(5, 1), (9, 1), (12, 4)])
    assert calendar.withdraw(booked, 9, 100) == Level(0, 0, [(5, 1), (12, 4)])
    assert calendar.withdraw(booked, 8, 1) == booked
