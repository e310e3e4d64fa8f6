"""A store that fails is asked less and less often, and one success ends it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from headworks_core.errors import Unavailable
from headworks_limiter.store.breaker import FAILURES, Breaker, Breakers


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: Breaker, clock: Clock) -> None:
    """A call that is let through and fails a moment later."""
    admitted_at = breaker.admit()
    clock.now += 0.01
    breaker.failed(admitted_at)


def broken(clock: Clock) -> Breaker:
    """A breaker that has just begun its first pause."""
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        fail(breaker, clock)
    return breaker


def admits(breaker: Breaker) -> bool:
    try:
        breaker.admit()
    except Unavailable:
        return False
    return True


def test_single_failures_hold_nothing_back() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(10):
        for _ in range(FAILURES - 1):
            fail(breaker, clock)
        assert admits(breaker)
        breaker.succeeded()


def test_calls_that_were_under_way_together_fail_as_one() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    together = [breaker.admit() for _ in range(10)]
    clock.now += 0.05
    for admitted_at in together:
        breaker.failed(admitted_at)
    assert not breaker.open


def test_after_failures_in_a_row_calls_wait_for_the_end_of_a_pause() -> None:
    clock = Clock()
    breaker = broken(clock)
    assert breaker.open
    with pytest.raises(Unavailable) as caught:
        breaker.admit()
    assert caught.value.retry_after_us == pytest.approx(100_000, abs=2)
    clock.now += 0.0999
    assert not admits(breaker)
    clock.now += 0.0002
    assert admits(breaker)


def test_one_call_a_pause_is_let_through_to_try() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += 0.11
    assert [admits(breaker) for _ in range(5)] == [True, False, False, False, False]


def test_pauses_double_up_to_a_second() -> None:
    clock = Clock()
    breaker = broken(clock)
    tried_at = []
    while clock.now < 105:
        clock.now += 0.01
        if admits(breaker):
            tried_at.append(clock.now)
            breaker.failed(clock.now)
    between = [later - earlier for earlier, later in pairwise(tried_at)]
    assert between[:5] == pytest.approx([0.2, 0.4, 0.8, 1.0, 1.0], abs=0.02)


def test_a_success_ends_it_and_the_next_pause_is_short_again() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += 0.11
    breaker.admit()
    breaker.succeeded()
    assert [admits(breaker) for _ in range(5)] == [True] * 5
    for _ in range(FAILURES):
        fail(breaker, clock)
    clock.now += 0.11
    assert admits(breaker)


def test_a_server_that_fails_is_spared_and_the_others_are_not() -> None:
    clock = Clock()
    places = {0: "a", 1: "b", 2: "a"}
    breakers = Breakers(clock, places.__getitem__)
    for _ in range(FAILURES):
        clock.now += 1
        breakers.of(0).failed(breakers.of(0).admit())
    assert breakers.open == 1
    assert breakers.of(2) is breakers.of(0)
    assert breakers.of(1).admit() == clock.now
    places[0] = "c"  # another server has taken over
    assert not breakers.of(0).open
