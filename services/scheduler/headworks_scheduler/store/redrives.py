"""Sending dead and cancelled jobs back, one by one or many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from headworks_core.cells import Meta
from headworks_core.scripts import Argument
from redis.asyncio import Redis

from headworks_scheduler.domain.jobs import Filter, Position, Queue, Redriven, State
from headworks_scheduler.store.calls import Calls
from headworks_scheduler.store.lists import filter_args, position_args, position_of

SCAN_MAX = 100  # dead letters that a script call looks at


class RedrivePage(NamedTuple):
    """What one call sent back; `stopped`: why it could not go on, DONE if it could."""

    tails: list[str]
    cutoff_us: int
    after: Position | None
    """Where the next call begins; None when no dead letter from before the cutoff is left."""
    stopped: Redriven


class RedriveStore:
    """DEAD or CANCELLED -> READY. Raises Unavailable or ResourceExhausted for a store that fails."""

    def __init__(
        self,
        redis: Redis,
        meta: Meta,
        *,
        outbox_max: int,
        scan_max: int = SCAN_MAX,
        now_us: Callable[[], int] | None = None,
    ) -> None:
        """`now_us` is for tests; without it the Redis server's clock decides."""
        self._call = Calls(redis, meta, ["redrive", "redrive_dead"], now_us=now_us)
        self._outbox_max = outbox_max
        self._scan_max = scan_max

    async def redrive(
        self, queue: Queue, tenant: str, tails: Sequence[str], *, traceparent: str = ""
    ) -> list[Redriven]:
        """Send jobs back, at most 500, each by itself."""
        cell = self._call.meta.cell_of(queue.name)
        codes = await self._call("redrive", cell, [*self._head(queue, tenant), *tails], traceparent)
        return [Redriven(code) for code in codes]

    async def redrive_dead(
        self,
        queue: Queue,
        tenant: str,
        wanted: Filter,
        *,
        limit: int,
        cutoff_us: int = 0,
        after: Position | None = None,
        traceparent: str = "",
    ) -> RedrivePage:
        """Send dead letters back, those first that died first, but none that died after the cutoff (0: now)."""
        args = [*self._head(queue, tenant), limit, self._scan_max, cutoff_us or "", *position_args(after)]
        args += filter_args(wanted._replace(state=State.DEAD))
        cell = self._call.meta.cell_of(queue.name)
        cutoff, score, tail, code, *tails = await self._call("redrive_dead", cell, args, traceparent)
        return RedrivePage([name.decode() for name in tails], int(cutoff), position_of(score, tail), Redriven(code))

    def _head(self, queue: Queue, tenant: str) -> list[Argument]:
        return [queue.name, tenant, queue.max_size, queue.max_size_per_tenant, self._outbox_max]
