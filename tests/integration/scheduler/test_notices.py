"""How a replica hears of what the store publishes, and what it does when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from headworks_core.cells import Meta
from headworks_core.errors import Unavailable
from headworks_core.loops import running
from headworks_core.names import uuid7
from headworks_core.store import redis_client
from headworks_scheduler.dispatcher import Dispatcher, SessionSeat
from headworks_scheduler.domain.jobs import Claimed, NewJob, Queue
from headworks_scheduler.domain.matching import Order
from headworks_scheduler.notices import Notices
from headworks_scheduler.queues import Queues
from headworks_scheduler.store.jobs import JobStore, StoreOptions
from redis.asyncio import Redis

from tests.support.listening import listening
from tests.support.wait import wait_until

META = Meta(cells=1, events="none")
QUEUE = Queue("default")
SLOTS = 1_000  # more than one claim reserves


class Heard:
    """A listener that counts."""

    def __init__(self) -> None:
        self.unsure = 0

    async def on_wake(self, queue: str) -> None:
        """Not of interest."""

    def on_cancel(self, cell: int, ref: str, lease_id: int) -> None:
        """Not of interest."""

    def on_changed(self, cell: int, refs: Sequence[str]) -> None:
        """Not of interest."""

    def on_timer(self, cell: int) -> None:
        """Not of interest."""

    def on_unsure(self) -> None:
        """The subscription is new."""
        self.unsure += 1


class Line:
    """What lies between a client and the server: it can go dead without either being told."""

    def __init__(self) -> None:
        self.dead = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, unless the line is dead."""
        while data := await reader.read(65_536):
            if not self.dead:
                writer.write(data)
        writer.close()


@asynccontextmanager
async def through(line: Line, url: str) -> AsyncIterator[str]:
    """The server's URL by way of the line."""
    host, _, port = url.removeprefix("redis://").partition("/")[0].partition(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(line.carry(reader, up_writer), line.carry(up_reader, writer))

    async with listening(serve) as port_here:
        yield f"redis://127.0.0.1:{port_here}/0"


async def test_a_subscription_that_is_only_quiet_goes_on_and_a_dead_one_ends(valkey_url: str) -> None:
    line, heard = Line(), Heard()
    async with through(line, valkey_url) as url, redis_client(url, timeout_s=None) as redis:
        listening = asyncio.ensure_future(Notices(redis, META, "r1", heard, silence_s=0.1).run())
        ended, _ = await asyncio.wait([listening], timeout=0.6)
        assert not ended
        assert heard.unsure == 1

        line.dead = True

        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match="silent"):
                await listening


async def test_a_sweep_during_a_claim_does_not_blame_the_notices(redis: Redis) -> None:
    store = JobStore(redis, META, StoreOptions(replica="r1"))
    dispatcher = Dispatcher(store, Queues({"default": QUEUE}))
    assigned: list[Claimed] = []
    seat = SessionSeat("w1", [("default", 1)], Order.WEIGHTED, assigned.extend)
    async with running(dispatcher.run()):
        dispatcher.attach(seat)
        await store.submit([NewJob(QUEUE, "default", uuid7(), fresh=True, spec=b"", task="t")])
        dispatcher.credit(seat, SLOTS)
        async with asyncio.timeout(5):
            while seat.credit == SLOTS:  # noqa: ASYNC110 - until the very turn in which the claim is under way
                await asyncio.sleep(0)

        await dispatcher.sweep()

        await wait_until(lambda: len(assigned) == 1, 5, what="the job")
    assert dispatcher.counters.lost_wakeups == 0


async def test_a_sweep_finds_what_nobody_was_told_of(redis: Redis) -> None:
    store = JobStore(redis, META, StoreOptions(replica="r1"))
    dispatcher = Dispatcher(store, Queues({"default": QUEUE}))
    assigned: list[Claimed] = []
    seat = SessionSeat("w1", [("default", 1)], Order.WEIGHTED, assigned.extend)
    async with running(dispatcher.run()):
        dispatcher.attach(seat)
        dispatcher.credit(seat, SLOTS)
        waiters = "{hw:0}:q:default:waiters"
        await wait_until(lambda: redis.exists(waiters), 5, what="a waiter")
        await store.submit([NewJob(QUEUE, "default", uuid7(), fresh=True, spec=b"", task="t")])

        await dispatcher.sweep()

        await wait_until(lambda: len(assigned) == 1, 5, what="the job")
    assert dispatcher.counters.lost_wakeups == 1
