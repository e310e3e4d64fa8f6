"""Which session gets how much of which queue."""

from __future__ import annotations

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


def test_a_queue_that_had_no_work_does_not_catch_up() -> None:
    seat = Seat("w", [("a", 1), ("b", 1)], credit=100)
    seat.wishes({"a"}, 100)
    seat.wishes({"a", "b"}, 100)
    assert seat.wishes({"a", "b"}, 100) == {"a": 50, "b": 50}


def test_a_strict_session_takes_all_from_the_first_queue_that_has_work() -> None:
    seat = Seat("w", [("a", 1), ("b", 9)], Order.STRICT, credit=5)
    assert seat.wishes({"a", "b"}, 500) == {"a": 5}
    assert seat.wishes({"b"}, 500) == {"b": 5}


def test_all_sessions_together_ask_a_queue_for_at_most_the_limit() -> None:
    seats = [Seat(f"w{n}", [("a", 1)], credit=300) for n in range(3)]
    assert [count for _, count in plan(seats, {"a"}, 500)["a"]] == [300, 200]
