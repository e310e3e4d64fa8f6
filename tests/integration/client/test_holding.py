"""What concurrency rules hold is held while something is done, for however long, and given back at its end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from headworks_client import HoldLost, LimiterClient, LimitExceeded, SyncLimiterClient, limited
from headworks_core.errors import NotFound

from tests.integration.limiter.serving import running
from tests.support.ports import free_port
from tests.support.wait import wait_until

TTL_S = 0.4
RULES = f"""
namespaces:
  slots:
    rules:
      - {{name: slots, match: {{user: "*"}}, algorithm: concurrency, limit: 1, ttl: {round(TTL_S * 1000)}ms}}
      - {{name: rate, match: {{user: "*"}}, limit: 1000/hour}}
  line:
    rules:
      - {{name: line, match: {{user: "*"}}, limit: 10/second, algorithm: leaky_bucket, queue: 5}}
"""
ANN = {"user": "ann"}


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Where a limiter listens."""
    async with running("memory:", RULES) as limiter:
        yield limiter.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[LimiterClient]:
    """A client of it."""
    async with LimiterClient(address, timeout_s=20) as opened:
        yield opened


async def is_free(client: LimiterClient) -> bool:
    return (await client.check("slots", ANN)).allowed


async def held_for_long(client: LimiterClient) -> None:
    """The slot is never free for more than twice its time to live."""
    until = time.monotonic() + 2.5 * TTL_S
    while time.monotonic() < until:
        assert not await is_free(client)
        await asyncio.sleep(0.02)


async def test_a_slot_is_held_for_longer_than_it_lives_and_then_free(client: LimiterClient) -> None:
    async with client.holding("slots", ANN) as hold:
        assert hold.decision.grant_expires_after_s == pytest.approx(TTL_S, abs=0.01)
        await held_for_long(client)
        assert not hold.lost
        with pytest.raises(LimitExceeded):
            async with client.holding("slots", ANN):
                pass
    await wait_until(lambda: is_free(client), 10, what="the slot to be given back")


async def test_it_is_given_back_whatever_happens(client: LimiterClient) -> None:
    async def hold_for_ever() -> None:
        async with client.holding("slots", ANN, max_wait_s=20):
            await asyncio.Event().wait()

    with pytest.raises(KeyError):
        async with client.holding("slots", ANN):
            raise KeyError
    task = asyncio.ensure_future(hold_for_ever())

    async def taken() -> bool:
        return not await is_free(client)

    await wait_until(taken, 10, what="the slot to be taken")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: is_free(client), 10, what="the slot to be given back")
    with pytest.raises(NotFound):
        async with client.holding("nowhere", ANN):
            pass


async def test_who_waits_gets_the_slot_of_who_goes(client: LimiterClient) -> None:
    inside = 0

    async def work() -> None:
        nonlocal inside
        async with client.holding("slots", ANN, max_wait_s=30):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.02)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(6)))


async def test_what_cannot_be_renewed_is_lost_and_the_block_hears_of_it() -> None:
    address = f"127.0.0.1:{free_port()}"
    async with AsyncExitStack() as stack:
        limiter = await stack.enter_async_context(AsyncExitStack())
        await limiter.enter_async_context(running("memory:", RULES, address=address))
        client = await stack.enter_async_context(LimiterClient(address, timeout_s=0.2))
        told = await stack.enter_async_context(client.holding("slots", {"user": "bob"}, cancel_when_lost=False))
        began = time.monotonic()

        async def hold_for_ever() -> None:
            async with client.holding("slots", ANN):
                await limiter.aclose()
                await asyncio.Event().wait()

        with pytest.raises(HoldLost):
            await hold_for_ever()
        assert time.monotonic() - began > TTL_S / 2
        await wait_until(lambda: told.lost, 20, what="the other one to be lost")


async def test_a_timeout_of_the_block_is_its_own(client: LimiterClient) -> None:
    with pytest.raises(TimeoutError):
        async with client.holding("slots", ANN):
            raise TimeoutError


async def test_blocking_code_holds_too(client: LimiterClient, address: str) -> None:
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with SyncLimiterClient(address, timeout_s=20) as blocking:
            with blocking.holding("slots", ANN) as hold:
                inside.set()
                leave.wait(30)
                assert not hold.lost
            with pytest.raises(KeyError), blocking.holding("slots", ANN, max_wait_s=20):
                raise KeyError

    working = asyncio.create_task(asyncio.to_thread(work))
    await asyncio.to_thread(inside.wait, 20)
    await held_for_long(client)
    leave.set()
    await working
    assert await is_free(client)


async def test_the_decorator_holds_while_a_function_runs(client: LimiterClient, address: str) -> None:
    @limited(client, "slots", describe=ANN)
    async def work() -> None:
        await held_for_long(client)
        with pytest.raises(LimitExceeded):
            await work()
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            await work()
        await wait_until(lambda: is_free(client), 10, what="the slot to be given back")

    def block() -> None:
        with SyncLimiterClient(address, timeout_s=20) as blocking:

            @limited(blocking, "slots", describe=ANN)
            def work() -> str:
                with pytest.raises(LimitExceeded):
                    work()
                return "done"

            assert [work(), work()] == ["done", "done"]

    await asyncio.to_thread(block)


async def test_the_decorator_waits_for_its_turn(client: LimiterClient) -> None:
    begun: list[float] = []

    @limited(client, "line", describe=ANN, max_wait_s=10)
    async def work() -> None:
        begun.append(time.monotonic())

    first = time.monotonic()
    await asyncio.gather(*(work() for _ in range(4)))
    waits = sorted(at - first for at in begun)
    assert all(wait >= 0.1 * number - 0.02 for number, wait in enumerate(waits)), waits
