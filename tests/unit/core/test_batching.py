"""A micro-batch: alone it does not wait, together it shares, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from headworks_core.batching import MicroBatcher


class Doubler:
    """Answers each number with its double, once the gate is open; remembers its batches."""

    def __init__(self, *, open_gate: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.called = asyncio.Event()
        if open_gate:
            self.gate.set()

    async def __call__(self, items: list[int]) -> Sequence[int | Exception]:
        self.batches.append(items)
        self.called.set()
        await self.gate.wait()
        return [ValueError(f"{item} is odd") if item % 2 else 2 * item for item in items]


async def test_a_lone_call_flies_on_the_next_turn_of_the_loop() -> None:
    flush = Doubler()
    async with MicroBatcher(flush, window_s=3600) as batch:
        future = batch(2)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert flush.batches == [[2]]
        assert await future == 4


async def test_lone_calls_one_after_the_other_never_wait() -> None:
    flush = Doubler()
    async with MicroBatcher(flush, window_s=3600) as batch:
        for item in (2, 4, 6):
            assert await batch(item) == 2 * item
    assert flush.batches == [[2], [4], [6]]


async def test_calls_of_one_turn_share_a_flush_in_their_order() -> None:
    flush = Doubler()
    async with MicroBatcher(flush) as batch:
        assert await asyncio.gather(*map(batch, [2, 4, 6])) == [4, 8, 12]
    assert flush.batches == [[2, 4, 6]]


async def test_calls_that_come_while_one_is_under_way_wait_for_the_window() -> None:
    flush = Doubler(open_gate=False)
    async with MicroBatcher(flush, window_s=0.02) as batch:
        first = batch(2)
        await flush.called.wait()
        others = [batch(4), batch(6)]
        await asyncio.sleep(0)
        assert flush.batches == [[2]]
        flush.gate.set()
        assert await asyncio.gather(first, *others) == [4, 8, 12]
    assert flush.batches == [[2], [4, 6]]


async def test_a_full_batch_does_not_wait() -> None:
    flush = Doubler()
    async with MicroBatcher(flush, max_items=2, window_s=3600) as batch:
        futures = [batch(2), batch(4)]
        assert await asyncio.gather(*futures) == [4, 8]
        futures = [batch(2), batch(4), batch(6), batch(8)]
        assert await asyncio.gather(*futures) == [4, 8, 12, 16]
    assert flush.batches == [[2, 4], [2, 4], [6, 8]]


async def test_items_count_as_their_weight_and_a_heavy_one_flies_alone() -> None:
    flush = Doubler()
    async with MicroBatcher(flush, max_items=10, weigh=lambda item: item) as batch:
        futures = [batch(item) for item in (4, 4, 2, 100, 8, 4)]
        await asyncio.gather(*futures)
    assert flush.batches == [[4, 4, 2], [100], [8], [4]]


async def test_a_heavy_item_waits_for_no_company_and_takes_along_those_that_wait() -> None:
    flush = Doubler()
    async with MicroBatcher(flush, window_s=3600, weigh=lambda item: item, enough=50) as batch:
        await asyncio.gather(batch(2), batch(4))  # from now on it is busy
        light = batch(6)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert flush.batches == [[2, 4]]
        async with asyncio.timeout(5):
            assert list(await asyncio.gather(light, batch(50))) == [12, 100]
    assert flush.batches == [[2, 4], [6, 50]]


async def test_a_heavy_item_waits_for_the_flush_that_is_under_way_and_no_longer() -> None:
    flush = Doubler(open_gate=False)
    async with MicroBatcher(flush, window_s=3600, weigh=lambda item: item, enough=50) as batch:
        futures = [batch(2)]
        await flush.called.wait()
        futures += [batch(4), batch(60), batch(50), batch(6)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert flush.batches == [[2]]
        flush.gate.set()
        async with asyncio.timeout(5):
            assert await asyncio.gather(*futures) == [4, 8, 120, 100, 12]
    assert flush.batches == [[2], [4, 60, 50, 6]]


async def test_no_more_flushes_are_under_way_than_allowed_and_the_rest_follow() -> None:
    flush = Doubler(open_gate=False)
    async with MicroBatcher(flush, max_items=1, max_flights=2) as batch:
        futures = [batch(item) for item in (2, 4, 6, 8)]
        await flush.called.wait()
        await asyncio.sleep(0.01)  # time enough for a third flight, if there could be one
        assert flush.batches == [[2], [4]]
        flush.gate.set()
        assert await asyncio.gather(*futures) == [4, 8, 12, 16]


async def test_an_exception_among_the_outcomes_belongs_to_its_item() -> None:
    async with MicroBatcher(Doubler()) as batch:
        outcomes = list(await asyncio.gather(batch(2), batch(3), batch(4), return_exceptions=True))
    assert outcomes[0::2] == [4, 8]
    assert isinstance(outcomes[1], ValueError)


async def test_an_exception_of_the_flush_is_everybodys() -> None:
    async def fails(items: list[int]) -> Sequence[int | Exception]:
        raise ConnectionError("gone")

    async with MicroBatcher(fails) as batch:
        outcomes = await asyncio.gather(batch(2), batch(4), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ConnectionError, ConnectionError]


async def test_too_few_outcomes_leave_nobody_waiting() -> None:
    async def forgets(items: list[int]) -> Sequence[int | Exception]:
        return items[1:]

    async with MicroBatcher(forgets) as batch:
        with pytest.raises(RuntimeError, match="1 outcomes for 2 items"):
            await asyncio.gather(batch(2), batch(4))


async def test_an_item_whose_caller_has_gone_is_dropped() -> None:
    flush = Doubler()
    async with MicroBatcher(flush) as batch:
        gone, stays = batch(2), batch(4)
        gone.cancel()
        assert await stays == 8
        batch(6).cancel()
    assert flush.batches == [[4]]


async def test_a_caller_that_leaves_in_flight_disturbs_nobody() -> None:
    flush = Doubler(open_gate=False)
    async with MicroBatcher(flush) as batch:
        gone, stays = batch(2), batch(4)
        await flush.called.wait()
        gone.cancel()
        flush.gate.set()
        assert await stays == 8


async def test_leaving_answers_everything_that_was_taken_in() -> None:
    flush = Doubler()
    async with MicroBatcher(flush, max_items=2, max_flights=1, window_s=3600) as batch:
        futures = [batch(item) for item in (2, 4, 6, 8, 10)]
    assert [future.result() for future in futures] == [4, 8, 12, 16, 20]
