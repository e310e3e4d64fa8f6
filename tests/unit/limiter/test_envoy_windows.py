"""Windows of Envoy's limits: slices of the time since the epoch, worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from headworks_limiter.envoy.windows import MAX_COUNT, Hit, Unit, count


def at(text: str) -> int:
    """A time, in seconds since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def hit(unit: Unit = Unit.MINUTE, hits: int = 1, *, negative: bool = False) -> Hit:
    return Hit("k", unit, hits, negative)


@pytest.mark.parametrize(
    ("unit", "now", "ends"),
    [
        (Unit.SECOND, "2026-03-01T10:20:30", "2026-03-01T10:20:31"),
        (Unit.MINUTE, "2026-03-01T10:20:30", "2026-03-01T10:21:00"),
        (Unit.MINUTE, "2026-03-01T10:21:00", "2026-03-01T10:22:00"),  # the edge belongs to the new one
        (Unit.HOUR, "2026-03-01T10:20:30", "2026-03-01T11:00:00"),
        (Unit.DAY, "2026-03-01T23:59:59", "2026-03-02T00:00:00"),
        (Unit.WEEK, "2026-03-04T23:59:59", "2026-03-05T00:00:00"),  # a Wednesday, and Thursday begins
        (Unit.WEEK, "2026-03-05T00:00:00", "2026-03-12T00:00:00"),
        (Unit.MONTH, "1970-01-30T23:59:59", "1970-01-31T00:00:00"),  # 30 days, not January
        (Unit.MONTH, "2026-03-01T00:00:00", "2026-03-08T00:00:00"),  # day 20,513; 684 x 30 is 20,520
        (Unit.YEAR, "1970-12-31T23:59:59", "1971-01-01T00:00:00"),
        (Unit.YEAR, "1973-01-01T00:00:00", "1973-12-31T00:00:00"),  # 1972 had a 29th of February
    ],
)
def test_a_window_ends_with_its_slice(unit: Unit, now: str, ends: str) -> None:
    counted, state = count(None, hit(unit), at(now))

    assert counted.reset_s == at(ends) - at(now)
    assert state == f"{at(ends) - unit.seconds}:1"


def test_hits_add_up_in_their_window_and_begin_anew_in_the_next() -> None:
    first, state = count(None, hit(hits=3), at("2026-03-01T10:20:30"))
    second, state = count(state, hit(hits=4), at("2026-03-01T10:20:59"))
    third, state = count(state, hit(), at("2026-03-01T10:21:00"))

    assert [counted.hits for counted in (first, second, third)] == [3, 7, 1]


def test_a_look_changes_nothing_and_sees_what_is_there() -> None:
    now = at("2026-03-01T10:20:30")
    _, state = count(None, hit(hits=3), now)

    assert count(state, hit(hits=0), now) == ((3, 30), None)
    assert count(None, hit(hits=0), now) == ((0, 30), None)


def test_hits_are_given_back_down_to_nothing_and_only_in_their_window() -> None:
    now = at("2026-03-01T10:20:30")
    _, state = count(None, hit(hits=3), now)

    some, after = count(state, hit(hits=2, negative=True), now)
    assert (some.hits, after) == (1, f"{now - 30}:1")
    assert count(state, hit(hits=9, negative=True), now)[0].hits == 0
    assert count(state, hit(hits=2, negative=True), now + 30) == ((0, 60), None)  # that window is over
    assert count(None, hit(hits=2, negative=True), now) == ((0, 30), None)  # no credit


def test_a_clock_that_steps_back_stays_in_the_later_window() -> None:
    now = at("2026-03-01T10:21:10")
    _, state = count(None, hit(hits=3), now)

    counted, after = count(state, hit(), now - 20)

    assert (counted.hits, counted.reset_s) == (4, 70)
    assert after == f"{now - 10}:4"


def test_a_count_stays_where_lua_is_sure_of_it() -> None:
    _, state = count(None, hit(hits=MAX_COUNT), 1_000)

    assert count(state, hit(hits=MAX_COUNT), 1_000)[0].hits == MAX_COUNT
