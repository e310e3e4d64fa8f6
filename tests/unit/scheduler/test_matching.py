"""Which session gets how much of which queue."""

from __future__ import annotations

import pytest
from headworks_scheduler.domain.matching import Order, Seat, plan


def test_a_session_without_credit_gets_nothing() -> None:
    assert plan([Seat("w", [("a", 1)], credit=0)], {"a"}, 500) == {}


def test_a_session_is_never_given_more_than_its_credit() -> None:
    seat = Seat("w", [("a", 1), ("b", 1)], credit=3)
    shares = plan([seat], {"a", "b"}, 500)
    assert sum(count for share in shares.values() for _, count in share) == 3


def test_several_queues_are_served_by_their_weights() -> None:
    seat = Seat("w", [("a", 3), ("b", 1)], credit=400)
    assert seat.wishes({"a", "b"}, 400) == {"a": 300, "b": 100}


@pytest.mark.parametrize("busy", [{"a"}, {"a", "b"}])
def test_a_queue_that_had_no_work_does_not_catch_up(busy: set[str]) -> None:
    seat = Seat("w", [("a", 1), ("b", 1), ("c", 1)], credit=120)
    for _ in range(100):
        seat.wishes(busy, 120)
    assert seat.wishes({"a", "b", "c"}, 120) == {"a": 40, "b": 40, "c": 40}


def test_a_queue_gains_nothing_by_being_empty_now_and_then() -> None:
    seat = Seat("w", [("a", 1), ("b", 1)], credit=1)
    assert [list(seat.wishes({"a", "b"}, 1)) for _ in range(2)] == [["a"], ["b"]]
    assert list(seat.wishes({"a", "b"}, 1)) == ["a"]
    seat.wishes({"b"}, 1)
    assert list(seat.wishes({"a", "b"}, 1)) == ["b"]


def test_a_strict_session_takes_all_from_the_first_queue_that_has_work() -> None:
    seat = Seat("w", [("a", 1), ("b", 9)], Order.STRICT, credit=5)
    assert seat.wishes({"a", "b"}, 500) == {"a": 5}
    assert seat.wishes({"b"}, 500) == {"b": 5}


def test_all_sessions_together_ask_a_queue_for_at_most_the_limit() -> None:
    seats = [Seat(f"w{n}", [("a", 1)], credit=300) for n in range(3)]
    assert [count for _, count in plan(seats, {"a"}, 500)["a"]] == [300, 200]
