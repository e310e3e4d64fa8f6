"""Pages of jobs, read in bounded scripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from headworks_core.cells import Meta
from headworks_core.scripts import Argument
from redis.asyncio import Redis

from headworks_scheduler.domain.jobs import Filter, Position, State
from headworks_scheduler.store.calls import Calls, fields_of

SCAN_MAX = 1_000  # jobs a page looks at
FAILURES_MAX = 300  # the same where their failures must be read
BASIC_BYTES = 8 << 20  # that the server reads for a page; most of them it keeps to itself
FULL_BYTES = 3 << 20  # clients take messages of 4 MiB by default
_INDEXES = {State.DEAD: "dead", State.LEASED: "leased"}


class Page(NamedTuple):
    """Some jobs by tail, with their stored fields; `after`: where the next page begins, None after the last."""

    jobs: list[tuple[str, dict[str, bytes]]]
    after: Position | None


class ListStore:
    """Lists jobs. Raises Unavailable for a store that fails."""

    def __init__(
        self, redis: Redis, meta: Meta, *, scan_max: int = SCAN_MAX, now_us: Callable[[], int] | None = None
    ) -> None:
        """`now_us` is for tests; without it the Redis server's clock decides."""
        self._call = Calls(redis, meta, ["list"], now_us=now_us)
        self._scan_max = scan_max

    async def page(
        self,
        queue: str,
        tenant: str,
        wanted: Filter,
        *,
        size: int,
        full: bool = False,
        after: Position | None = None,
        traceparent: str = "",
    ) -> Page:
        """Jobs of a queue and tenant, newest first. Fewer than `size` does not mean that it is the last page."""
        scan_max = min(self._scan_max, FAILURES_MAX) if wanted.category or wanted.error_class else self._scan_max
        index = _INDEXES.get(State(wanted.state), "jobs") if wanted.state else "jobs"
        view, bytes_max = ("full", FULL_BYTES) if full else ("basic", BASIC_BYTES)
        args: list[Argument] = [queue, tenant, index, view, size, scan_max, bytes_max, *position_args(after)]
        args += filter_args(wanted)
        cell = self._call.meta.cell_of(queue)
        score, tail, *jobs = await self._call("list", cell, args, traceparent)
        found = [(name.decode(), fields_of(flat)) for name, flat in zip(jobs[::2], jobs[1::2], strict=True)]
        return Page(found, position_of(score, tail))


def filter_args(wanted: Filter) -> list[Argument]:
    """As include/filter.lua reads it."""
    by_lane = "0" if wanted.lane is None else "1"
    return [int(wanted.state), wanted.task, by_lane, wanted.lane or "", int(wanted.category), wanted.error_class]


def position_args(after: Position | None) -> list[Argument]:
    """A place as two arguments; both empty for the beginning."""
    return ["", ""] if after is None else [after.score, after.tail]


def position_of(score: bytes, tail: bytes) -> Position | None:
    """A place as a script answers with it."""
    return Position(int(score), tail.decode()) if score else None
