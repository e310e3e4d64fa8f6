"""A process that dies comes back more and more slowly, and not for ever."""

from __future__ import annotations

from headworks_devkit.restarts import FIRST_S, MOST_DEATHS, WITHIN_S, Restarts


def test_each_restart_waits_twice_as_long_until_it_is_given_up() -> None:
    restarts = Restarts()
    delays = [restarts.delay_s(float(second)) for second in range(MOST_DEATHS)]
    assert delays == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S, None]


def test_what_has_run_for_a_while_begins_anew() -> None:
    restarts = Restarts()
    assert restarts.delay_s(0) == FIRST_S
    assert restarts.delay_s(1) == 2 * FIRST_S
    assert restarts.delay_s(1 + WITHIN_S) == FIRST_S


def test_what_dies_now_and_then_is_never_given_up() -> None:
    restarts = Restarts()
    period_s = WITHIN_S / (MOST_DEATHS - 1)
    assert None not in [restarts.delay_s(number * period_s) for number in range(100)]
