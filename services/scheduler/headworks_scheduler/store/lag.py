"""How far the relays are behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from headworks_core.cells import Meta
from redis.asyncio import Redis

from headworks_scheduler.store.calls import Calls


class Lag(NamedTuple):
    """Of one cell, or of all together."""

    waiting: int = 0
    """Events that the broker has not acknowledged."""
    oldest_us: int = 0
    """How long the first of them waits."""
    aside: int = 0
    """Events that cannot be sent."""


class LagReader:
    """Reads the lag. Raises Unavailable for a store that fails."""

    def __init__(self, redis: Redis, meta: Meta, *, now_us: Callable[[], int] | None = None) -> None:
        """`now_us` is for tests; without it the Redis server's clock decides."""
        self._cells = meta.cells
        self._call = Calls(redis, meta, ["lag"], now_us=now_us)

    async def read(self) -> Lag:
        """All cells together: a small script call each."""
        total = Lag()
        for cell in range(self._cells):
            entries, oldest_us, aside = await self._call("lag", cell, [])
            waiting = entries if oldest_us >= 0 else 0
            total = Lag(total.waiting + waiting, max(total.oldest_us, oldest_us), total.aside + aside)
        return total
