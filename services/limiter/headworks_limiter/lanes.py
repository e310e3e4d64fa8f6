"""A batcher a server, so that requests for one that does not answer hold up nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Generic, TypeVar

from headworks_core.batching import MicroBatcher

I = TypeVar("I")  # noqa: E741 - the item
O = TypeVar("O")  # noqa: E741 - its outcome

MAX_IDLE = 100


class Lanes(Generic[I, O]):
    """Hands each item to the batcher of its lane; a lane is made when it is first needed."""

    def __init__(self, make: Callable[[], MicroBatcher[I, O]], *, of: Callable[[I], Hashable]) -> None:
        """`of` says which lane an item belongs to."""
        self._make = make
        self._of = of
        self._lanes: dict[Hashable, MicroBatcher[I, O]] = {}

    def __call__(self, item: I) -> asyncio.Future[O]:
        """The item's outcome, as its batcher has it."""
        lane = self._of(item)
        batcher = self._lanes.get(lane)
        if batcher is None:
            batcher = self._open(lane)
        return batcher(item)

    def _open(self, lane: Hashable) -> MicroBatcher[I, O]:
        if len(self._lanes) >= MAX_IDLE:  # of servers that have long gone
            self._lanes = {name: each for name, each in self._lanes.items() if each.flights or each.waiting}
        batcher = self._lanes[lane] = self._make()
        return batcher

    @property
    def flights(self) -> int:
        """Batches under way."""
        return sum(batcher.flights for batcher in self._lanes.values())

    @property
    def waiting(self) -> int:
        """Items that wait for one."""
        return sum(batcher.waiting for batcher in self._lanes.values())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits until everything taken in has been answered."""
        for batcher in list(self._lanes.values()):
            await batcher.__aexit__(kind, error, trace)
