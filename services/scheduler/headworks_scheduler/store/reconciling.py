"""What the reconciler reads and repairs, each in bounded calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from headworks_core.cells import Meta
from headworks_core.names import LANE, QUEUE, TENANT
from headworks_core.scripts import Argument
from headworks_core.store import store_errors
from redis.asyncio import Redis

from headworks_scheduler.store.calls import Calls

SLICE = 250
COUNT_MAX = 2_500  # entries in a cell; some milliseconds of the server
_OF_CELL = {"leases": "leases", "timers": "timers", "finished": "finished"}
_KEY = re.compile(r"\{hw:(\d+)\}:(.+)", re.DOTALL)
_OF_QUEUE = re.compile(
    rf"q:({QUEUE.pattern}):(?:(finished|dead|counts)|(jobs|dead):({TENANT.pattern})|ready:\d:({TENANT.pattern}):({LANE.pattern}))"
)
_OF_TENANT = {"jobs": "listed", "dead": "dead_of"}
Repairs = dict[str, int]
"""How many repairs of each kind, without those that were not needed."""


class Index(NamedTuple):
    """An index to be checked; see reconcile_indexes.lua."""

    key: str
    kind: str
    queue: str = ""
    tenant: str = ""
    lane: str = ""


class Slice(NamedTuple):
    """Some keys of one cell by what they are."""

    refs: list[str]
    indexes: list[Index]
    queues: set[str]


class ReconcileStore:
    """Raises Unavailable or ResourceExhausted for a store that fails."""

    def __init__(self, redis: Redis, meta: Meta, *, lease_us: int, now_us: Callable[[], int] | None = None) -> None:
        """`now_us` is for tests; without it the Redis server's clock decides."""
        names = ["reconcile", "reconcile_indexes", "reconcile_counts"]
        self._call = Calls(redis, meta, names, now_us=now_us)
        self._redis = redis
        self._lease_us = lease_us

    async def scan(self, cursor: int) -> tuple[int, dict[int, Slice]]:
        """The next keys by cell, about 250; the cursor is 0 at first, and 0 again at the end."""
        scan: Any = self._redis.scan
        with store_errors():
            cursor, keys = await scan(cursor, match="{hw:*}:*", count=SLICE)
        return int(cursor), _sorted(keys, self._call.meta.cells)

    async def jobs(self, cell: int, refs: Sequence[str]) -> Repairs:
        """Give jobs their places back, at most 250 a script call."""
        total: Repairs = {}
        for at in range(0, len(refs), SLICE):
            add(total, _repairs(await self._call("reconcile", cell, [self._lease_us, *refs[at : at + SLICE]])))
        return total

    async def indexes(self, cell: int, indexes: Sequence[Index], cursor: bytes) -> tuple[int, bytes, Repairs]:
        """Look at about 250 entries, from `cursor` in the first index on; how many are done, the cursor in the next."""
        args: list[Argument] = [SLICE]
        for n, index in enumerate(indexes):
            args += [*index, b"0" if n else cursor]
        done, cursor, *flat = await self._call("reconcile_indexes", cell, args)
        return done, cursor, _repairs(flat)

    async def counts(self, cell: int, queues: Iterable[str]) -> tuple[bool, Repairs]:
        """Check the counters of all queues of a cell; False if there was too much to count."""
        checked, *flat = await self._call("reconcile_counts", cell, [COUNT_MAX, *sorted(queues)])
        return bool(checked), _repairs(flat)


def add(total: Repairs, more: Repairs) -> None:
    """Add to the numbers of `total`."""
    for kind, n in more.items():
        total[kind] = total.get(kind, 0) + n


def _repairs(flat: Sequence[bytes | int]) -> Repairs:
    return {bytes(kind).decode(): int(n) for kind, n in zip(flat[::2], flat[1::2], strict=True)}


def _sorted(keys: Iterable[bytes], cells: int) -> dict[int, Slice]:
    slices: dict[int, Slice] = {}
    for key in keys:
        match = _KEY.fullmatch(key.decode(errors="replace"))
        if match is None or int(match[1]) >= cells:
            continue
        of_cell = slices.setdefault(int(match[1]), Slice([], [], set()))
        name = match[2]
        if name.startswith("job:"):
            of_cell.refs.append(name.removeprefix("job:"))
        elif name in _OF_CELL:
            of_cell.indexes.append(Index(name, _OF_CELL[name]))
        elif name.startswith("q:"):
            _sort_of_queue(name, of_cell)
    return slices


def _sort_of_queue(name: str, of_cell: Slice) -> None:
    match = _OF_QUEUE.fullmatch(name)
    if match is None:
        return
    queue, plain, of_tenant, tenant, ready_tenant, lane = match.groups()
    of_cell.queues.add(queue)
    if plain in ("finished", "dead"):
        of_cell.indexes.append(Index(name, plain, queue))
    elif of_tenant:
        of_cell.indexes.append(Index(name, _OF_TENANT[of_tenant], queue, tenant))
    elif ready_tenant:
        of_cell.indexes.append(Index(name, "ready", queue, ready_tenant, lane))
