"""Takes hits to the store, those of concurrent calls together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import structlog
from headworks_core.batching import MicroBatcher
from headworks_core.context import CallContext
from headworks_core.errors import Reason, ServiceError, Unavailable
from headworks_core.measures import SIZE_BOUNDS, Distribution
from headworks_core.store import Moving
from headworks_core.telemetry import is_sampled

from headworks_limiter.decider import MAX_BUCKETS, MAX_FLIGHTS, STORE_FAILURES
from headworks_limiter.envoy.windows import Count, Hit
from headworks_limiter.lanes import Lanes
from headworks_limiter.store.breaker import Breaker, Breakers

log = structlog.get_logger(__name__)


class Counters(Protocol):
    """A store of counters that all replicas share."""

    async def count(self, hits: Sequence[Hit], *, traceparent: str = "") -> Sequence[Count]:
        """Count in this order, in one atomic step; all of one cell."""


@dataclass(slots=True)
class _Load:
    """The hits of one call."""

    cell: int
    hits: Sequence[Hit]
    caller: CallContext


class Counting:
    """Counts hits; those of concurrent calls share script calls, and a call's are never parted."""

    def __init__(self, store: Counters, breaker: Breaker | Breakers) -> None:
        self._store = store
        self._breaker = breaker
        self.failures = 0
        """Script calls that failed."""
        self.sizes = Distribution(SIZE_BOUNDS)
        """Descriptors a script call."""
        self._batcher: Lanes[_Load, Sequence[Count]] = Lanes(
            lambda: MicroBatcher(
                self._flush, max_items=MAX_BUCKETS, max_flights=MAX_FLIGHTS, weigh=lambda load: len(load.hits)
            ),
            of=lambda load: breaker.of(load.cell),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits until every call taken in has been answered."""
        await self._batcher.__aexit__(kind, error, trace)

    async def count(self, cell: int, hits: Sequence[Hit], caller: CallContext) -> Sequence[Count]:
        """One count a hit. Raises Unavailable (STORE_UNAVAILABLE): they may have been counted."""
        if not hits:
            return ()
        try:
            return await self._batcher(_Load(cell, hits, caller))
        except STORE_FAILURES as error:
            message = "the store cannot be asked"
            raise Unavailable(message, reason=Reason.STORE_UNAVAILABLE, retry_after_us=500_000) from error

    async def _flush(self, loads: list[_Load]) -> list[Sequence[Count] | Exception]:
        gone = Unavailable("the caller's deadline has passed")
        outcomes: list[Sequence[Count] | Exception] = [gone] * len(loads)
        by_cell: dict[int, list[int]] = {}
        for index, load in enumerate(loads):
            if not load.caller.expired():
                by_cell.setdefault(load.cell, []).append(index)
        await asyncio.gather(*(self._count_cell(loads, indexes, outcomes) for indexes in by_cell.values()))
        return outcomes

    async def _count_cell(
        self, loads: Sequence[_Load], indexes: Sequence[int], outcomes: list[Sequence[Count] | Exception]
    ) -> None:
        try:
            counts = await self._ask([loads[index] for index in indexes])
        except ServiceError as error:
            for index in indexes:
                outcomes[index] = error
            return
        first = 0
        for index in indexes:
            end = first + len(loads[index].hits)
            outcomes[index] = counts[first:end]
            first = end

    async def _ask(self, loads: Sequence[_Load]) -> Sequence[Count]:
        """One script call. Its span's parent is the first call that is sampled."""
        breaker = self._breaker.of(loads[0].cell)
        admitted_at = breaker.admit()
        traceparent = next(filter(is_sampled, (load.caller.traceparent for load in loads)), "")
        hits = [hit for load in loads for hit in load.hits]
        try:
            counts = await self._store.count(hits, traceparent=traceparent)
        except STORE_FAILURES as error:
            if isinstance(error, Moving):
                breaker.succeeded()
            else:
                breaker.failed(admitted_at)
            self.failures += 1
            log.warning("store.failed", error=error.message, held_back=breaker.open)
            raise
        breaker.succeeded()
        self.sizes.record(len(hits))
        return counts
