"""How queues are, read in bounded scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from headworks_core.cells import Meta
from redis.asyncio import Redis

from headworks_scheduler.store.calls import Calls

QUEUES_MAX = 20  # a script call


class QueueStats(NamedTuple):
    """One queue, with one tenant's own share. `ready` has a number a level, 0 to 9."""

    waiting: int
    leased: int
    dead: int
    tenants: int
    oldest_us: int
    """How long the longest waiting first job of a lane waits; -1: no job is ready."""
    waiters: int
    own_waiting: int
    own_dead: int
    ready: tuple[int, ...]


class StatsStore:
    """Reads statistics. Raises Unavailable for a store that fails."""

    def __init__(self, redis: Redis, meta: Meta, *, now_us: Callable[[], int] | None = None) -> None:
        """`now_us` is for tests; without it the Redis server's clock decides."""
        self._call = Calls(redis, meta, ["stats"], now_us=now_us)

    async def read(self, queues: Sequence[str], tenant: str, *, traceparent: str = "") -> list[QueueStats]:
        """The queues, in their order, with the tenant's share; a script call for every 20 of a cell."""
        cells: dict[int, list[str]] = {}
        for queue in queues:
            cells.setdefault(self._call.meta.cell_of(queue), []).append(queue)
        found: dict[str, QueueStats] = {}
        for cell, names in cells.items():
            for at in range(0, len(names), QUEUES_MAX):
                some = names[at : at + QUEUES_MAX]
                rows = await self._call("stats", cell, [tenant, *some], traceparent)
                found |= {name: _stats(row) for name, row in zip(some, rows, strict=True)}
        return [found[queue] for queue in queues]


def _stats(row: Sequence[int]) -> QueueStats:
    waiting, leased, dead, tenants, oldest_us, waiters, own_waiting, own_dead, *ready = row
    return QueueStats(waiting, leased, dead, tenants, oldest_us, waiters, own_waiting, own_dead, tuple(ready))
