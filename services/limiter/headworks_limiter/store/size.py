"""How much the store holds, read when somebody asks for the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from headworks_core.servers import Servers
from headworks_core.store import store_errors
from redis.asyncio import Redis

from headworks_limiter.store.patience import within

Count = Callable[[], Awaitable[int]]


def keys_in(servers: Servers, *, timeout_s: float) -> Count:
    """Counts the keys of the servers' databases, O(1): buckets, records of grants, and whatever else lives there."""

    async def ask() -> int:
        with store_errors():
            return sum(await asyncio.gather(*map(_size, servers.all().values())))

    return lambda: within(timeout_s, ask())


async def _size(redis: Redis) -> int:
    execute: Any = redis.execute_command
    return int(await execute("DBSIZE"))


class StoreSize:
    """The latest count."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self.keys = 0

    async def look(self) -> None:
        """Count again. Raises Unavailable or TimeoutError, and leaves what it knew."""
        self.keys = await self._count()
