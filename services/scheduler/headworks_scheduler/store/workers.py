"""The workers of all replicas, in the first cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from headworks_core.cells import Meta
from headworks_core.scripts import Argument
from headworks_core.store import store_errors
from redis.asyncio import Redis

from headworks_scheduler.store.calls import Calls

BATCH_MAX = 500
CELL = 0


class Report(NamedTuple):
    """What a replica says of a worker; the fields are those of workers.lua."""

    kind: str
    worker: str
    session: str
    state: int
    hello: bytes
    attached_ago_us: int
    silent_us: int
    held: int
    succeeded: int
    failed: int
    released: int


class Known(NamedTuple):
    """What is known of a worker; the fields are those of workers_read.lua."""

    worker: str
    told_us: int
    """Microseconds since a replica spoke of it."""
    replica: str
    state: int
    hello: bytes
    attached: int
    silent_us: int
    held: int
    succeeded: int
    failed: int
    released: int


class WorkerStore:
    """Writes and reads what is known of workers. Raises Unavailable or ResourceExhausted for a store that fails."""

    def __init__(
        self,
        redis: Redis,
        meta: Meta,
        replica: str,
        *,
        keep_us: int,
        workers_max: int,
        now_us: Callable[[], int] | None = None,
    ) -> None:
        """`now_us` is for tests; without it the Redis server's clock decides."""
        self._redis = redis
        self._index = f"{meta.prefix(CELL)}:workers"
        self._call = Calls(redis, meta, ["workers", "workers_read"], now_us=now_us)
        self._head: list[Argument] = [replica, keep_us, workers_max]

    async def report(self, reports: Sequence[Report]) -> list[bool]:
        """Record them, 500 a script call. False: the worker is not known, and `hello` is needed."""
        known: list[bool] = []
        for at in range(0, len(reports), BATCH_MAX):
            args = list(self._head)
            for report in reports[at : at + BATCH_MAX]:
                args += report
            known += [code == 0 for code in await self._call("workers", CELL, args)]
        return known

    async def read(self) -> list[Known]:
        """All workers, by id."""
        execute: Any = self._redis.execute_command
        with store_errors():
            ids = sorted(await execute("ZRANGE", self._index, 0, -1))
        known: list[Known] = []
        for at in range(0, len(ids), BATCH_MAX):
            some = ids[at : at + BATCH_MAX]
            rows = await self._call("workers_read", CELL, some)
            known += [_known(id_, row) for id_, row in zip(some, rows, strict=True) if row]
        return known


def _known(worker: bytes, row: Sequence[bytes]) -> Known:
    told_us, replica, state, hello, *numbers = row
    return Known(worker.decode(), int(told_us), replica.decode(), int(state), hello, *map(int, numbers))
