"""A timeout that counts the store's time, not the loop's."""

from __future__ import annotations

import asyncio
import time

import pytest
from headworks_limiter.store.patience import within


async def test_the_result_is_passed_on_and_so_is_an_error() -> None:
    async def fails() -> None:
        raise ConnectionError("gone")

    assert await within(1, asyncio.sleep(0, result=7)) == 7
    with pytest.raises(ConnectionError):
        await within(1, fails())


async def test_work_that_takes_too_long_is_cancelled() -> None:
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await within(0.05, endless())
    assert time.monotonic() - started >= 0.05
    await asyncio.wait_for(ended.wait(), 5)


async def test_time_in_which_the_loop_was_busy_does_not_count() -> None:
    async def needs_a_few_turns() -> str:
        for _ in range(5):
            await asyncio.sleep(0)
            time.sleep(0.03)  # noqa: ASYNC251 - a loop that others keep busy
        return "done"

    assert await within(0.05, needs_a_few_turns()) == "done"


async def test_who_gives_up_ends_the_work() -> None:
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.ensure_future(within(60, endless()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait_for(ended.wait(), 5)
