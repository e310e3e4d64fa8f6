"""Fixtures of the event tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest
from headworks_core.cells import Meta
from headworks_scheduler.relay import Relay, RelayOptions, Sink
from headworks_scheduler.store.outbox import Outbox, blocking_client
from redis.asyncio import Redis

Relaying = Callable[..., AbstractAsyncContextManager[asyncio.Task[None]]]


@pytest.fixture
async def outbox(redis: Redis, valkey_url: str) -> AsyncIterator[Outbox]:
    """The outbox of cell 0."""
    async with blocking_client(valkey_url, 2) as blocking:
        yield Outbox(redis, blocking, "{hw:0}")


@pytest.fixture
def relaying(redis: Redis, valkey_url: str) -> Relaying:
    """Runs a relay while the block does: `async with relaying(sink, replica="r2", lease_s=1):`."""

    @asynccontextmanager
    async def run(
        sink: Sink, *, replica: str = "r1", cells: int = 1, **options: float
    ) -> AsyncIterator[asyncio.Task[None]]:
        relay = Relay(redis, valkey_url, Meta(cells=cells), sink, replica, RelayOptions(**options))  # type: ignore[arg-type]
        task = asyncio.create_task(relay.run())
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return run
