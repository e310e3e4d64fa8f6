"""Items of one lane share a batch; what one lane waits for, no other does."""

from __future__ import annotations

import asyncio

from headworks_core.batching import MicroBatcher
from headworks_limiter.lanes import MAX_IDLE, Lanes


async def test_a_lane_that_waits_holds_up_no_other() -> None:
    gate = asyncio.Event()
    batches: list[list[str]] = []

    async def flush(items: list[str]) -> list[str]:
        batches.append(items)
        if items[0].startswith("slow"):
            await gate.wait()
        return [item.upper() for item in items]

    lanes: Lanes[str, str] = Lanes(lambda: MicroBatcher(flush), of=lambda item: item.partition(" ")[0])
    slow = [lanes(f"slow {number}") for number in range(20)]
    assert [await each for each in (lanes("fast 1"), lanes("fast 2"))] == ["FAST 1", "FAST 2"]
    assert (lanes.flights, any(each.done() for each in slow)) == (1, False)
    assert ["fast 1", "fast 2"] in batches

    # Lanes that have nothing to do are forgotten in time, others are not.
    assert await asyncio.gather(*(lanes(f"{number} x") for number in range(MAX_IDLE))) == [
        f"{number} X" for number in range(MAX_IDLE)
    ]
    assert await lanes("another x") == "ANOTHER X"
    assert lanes.flights == 1
    gate.set()
    await lanes.__aexit__(None, None, None)
    assert [each.result() for each in slow] == [f"SLOW {number}" for number in range(20)]
