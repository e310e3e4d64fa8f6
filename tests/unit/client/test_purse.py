"""What is left of leases, and how large the next one is."""

from __future__ import annotations

import pytest
from headworks_client.lease_size import GROWTH, Bounds, Pace
from headworks_client.purse import Held, Purse
from hypothesis import given
from hypothesis import strategies as st

steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 20), st.floats(0, 10)),
        st.tuples(st.just("spend"), st.integers(1, 30), st.floats(0, 3)),
        st.tuples(st.just("over"), st.just(0), st.floats(0, 3)),
    ),
    max_size=40,
)


@given(steps)
def test_nothing_is_spent_twice_nor_after_the_end_and_nothing_is_lost(
    steps: list[tuple[str, int, float]],
) -> None:
    purse, now, leased, spent, over = Purse(), 0.0, 0, 0, 0
    for number, (what, permits, seconds) in enumerate(steps):
        if what == "add":
            purse.add(Held(str(number), permits, permits, now + seconds))
            leased += permits
            continue
        now += seconds
        before = purse.left(now)
        if what == "spend":
            assert purse.spend(permits, now) == (permits <= before)
            spent += permits if permits <= before else 0
            assert purse.left(now) == before - (permits if permits <= before else 0)
        else:
            ended = purse.take_over(now)
            assert all(now >= held.until or not held.left for held in ended)
            over += sum(held.permits for held in ended)
            spent -= sum(held.spent for held in ended)
            assert purse.left(now) == before
        assert purse.spent == spent
    assert sum(held.permits for held in purse.take_all()) == leased - over
    assert purse.first is None


def test_the_oldest_lease_is_spent_first() -> None:
    purse = Purse()
    purse.add(Held("a", 3, 3, 10.0))
    purse.add(Held("b", 3, 3, 5.0))
    assert purse.next_end == 5.0
    assert purse.spend(4, 1.0)
    assert [held.lease_id for held in purse.take_over(1.0)] == ["a"]
    assert purse.first is not None
    assert (purse.first.lease_id, purse.first.left) == ("b", 2)


def test_leases_grow_in_steps_to_what_the_pace_asks_for_and_shrink_when_it_falls() -> None:
    pace = Pace(Bounds(least=1, most=10_000, target_s=1.0))
    sizes = []
    for _ in range(9):  # 5,000 a second
        size = pace.next_size()
        sizes.append(size)
        pace.came(size, 0.001, spent=size, over_s=size / 5_000)
    assert sizes == [1, 1, GROWTH, GROWTH**2, GROWTH**3, GROWTH**4, GROWTH**5, GROWTH**6, 5_000]
    assert pace.low_mark() == 10
    pace.came(5_000, 0.001, spent=10, over_s=10.0)  # one a second
    assert pace.next_size() == 1


def test_bounds_are_kept() -> None:
    pace = Pace(Bounds(least=5, most=50, target_s=1.0))
    assert pace.next_size() == 5
    for _ in range(5):
        pace.came(pace.next_size(), 1.0, spent=1_000_000, over_s=0.0)
    assert (pace.next_size(), pace.low_mark()) == (50, 25)
    for least, most, target_s in ((0, 1, 1.0), (2, 1, 1.0), (1, 1, 0.0), (1, 1, float("nan"))):
        with pytest.raises(ValueError, match=r"least, most|target_s"):
            Bounds(least, most, target_s)
