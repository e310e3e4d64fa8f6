"""Plain numbers: tallies and distributions."""

from __future__ import annotations

import asyncio
import time

import pytest
from headworks_core.measures import PROCESS, Distribution, Distributions, Tally, watch_loop


def test_a_tally_counts_by_labels() -> None:
    tally = Tally()
    tally["a", "ok"] += 1
    tally["a", "ok"] += 2
    tally["b", "ok"] += 5

    assert dict(tally.read()) == {("a", "ok"): 3, ("b", "ok"): 5}


@pytest.mark.parametrize(
    ("value", "bucket"), [(-1.0, 0), (0.0, 0), (1.0, 0), (1.1, 1), (2.0, 1), (3.0, 2), (3.5, 3), (1e9, 3)]
)
def test_the_bound_of_a_bucket_belongs_to_it(value: float, bucket: int) -> None:
    spread = Distribution((1.0, 2.0, 3.0))
    spread.record(value)

    assert spread.counts == [1 if index == bucket else 0 for index in range(4)]
    assert spread.total == value


def test_a_distribution_is_made_when_it_is_first_asked_for() -> None:
    spreads = Distributions((1.0,))
    spreads["a",].record(0.5)
    spreads["a",].record(5)

    ((labels, spread),) = spreads.read()
    assert (labels, spread.counts, spread.total) == (("a",), [1, 1], 5.5)


async def test_a_loop_that_is_kept_busy_is_seen_to_be_late() -> None:
    before = sum(PROCESS.loop_delay.counts[8:])  # 0.1 s and more
    watch = asyncio.ensure_future(watch_loop(0.01))
    await asyncio.sleep(0.02)
    time.sleep(0.2)  # noqa: ASYNC251 - that is the point
    await asyncio.sleep(0.05)
    watch.cancel()

    assert sum(PROCESS.loop_delay.counts[8:]) == before + 1
