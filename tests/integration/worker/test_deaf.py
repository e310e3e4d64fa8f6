"""A worker that hears nothing any more says so, and looks for another scheduler."""

from __future__ import annotations

import pytest
from headworks_worker import Worker, task

from tests.support.fake_scheduler import FakeScheduler
from tests.support.proxy import Proxy, proxy
from tests.support.wait import wait_until


@task
async def large() -> bytes:
    """A result that no buffer on the way takes."""
    return bytes(1 << 20)


async def deaf(said: list[bool], link: Proxy) -> None:
    """Wait until the worker has said that it is not ready, and then is again."""
    await wait_until(lambda: said[-1] is False, 8, what="the worker to be not ready")
    await link.clear()
    link.cut()
    await wait_until(lambda: said[-1] is True, 15, what="the worker to be ready again")


@pytest.mark.parametrize("way", ["down", "both"])
async def test_silence_of_the_scheduler_is_noticed(scheduler: FakeScheduler, way: str) -> None:
    said: list[bool] = []
    async with (
        proxy(scheduler.address) as link,
        Worker([large], scheduler=link.address, on_ready=said.append, shutdown_grace_s=0.1),
    ):
        await scheduler.session()
        await wait_until(lambda: said == [True], 10, what="the worker to be ready")
        link.stall("down" if way == "down" else "both")
        await deaf(said, link)


async def test_silence_is_noticed_while_a_result_is_stuck_on_its_way(scheduler: FakeScheduler) -> None:
    said: list[bool] = []
    async with (
        proxy(scheduler.address, buffer=4096) as link,
        Worker([large], scheduler=link.address, slots=8, on_ready=said.append, shutdown_grace_s=0.1),
    ):
        session = await scheduler.session()
        await session.credited(8)
        link.stall("up")
        for _ in range(8):
            await session.assign(large.name)
        await wait_until(lambda: said == [True], 10, what="the worker to be ready")
        link.stall("both")
        await deaf(said, link)
