"""An adaptive micro-batch: concurrent calls share one call of the thing behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

I = TypeVar("I")  # noqa: E741 - the item
O = TypeVar("O")  # noqa: E741 - its outcome


class MicroBatcher(Generic[I, O]):
    """Collects items and hands them to `flush` together, in the order in which they came.

    An idle batcher flushes on the next turn of the loop, so a lone call waits for nothing. While calls keep arriving
    (the last flush carried more than one item, or one is under way) items wait until `window_s` after the last flush,
    or until their weight reaches `max_items`. At most `max_flights` flushes are under way at a time.

    `flush` answers with one outcome an item; an outcome that is an exception is raised to that item's caller, and an
    exception of `flush` to all. An item whose caller has gone is dropped before the flush.
    """

    def __init__(
        self,
        flush: Callable[[list[I]], Awaitable[Sequence[O | Exception]]],
        *,
        max_items: int = 500,
        window_s: float = 0.002,
        max_flights: int = 4,
        weigh: Callable[[I], int] | None = None,
        enough: int | None = None,
    ) -> None:
        """`weigh` says how many items an item counts as; one that is heavier than `max_items` flies alone.

        For an item that counts as `enough` or more no company is waited for, only a flush that is under way.
        """
        self._flush = flush
        self._max_items = max_items
        self._window_s = window_s
        self._max_flights = max_flights
        self._weigh = weigh
        self._enough = enough or max_items
        self._waiting: list[tuple[I, asyncio.Future[O]]] = []
        self._weight = 0
        self._timer: asyncio.Handle | None = None
        self._flights: set[asyncio.Task[None]] = set()
        self._busy = self._hurry = False
        self._launched_at = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits until everything taken in has been answered."""
        while self._flights or self._waiting:
            self._launch()
            if self._flights:
                await asyncio.wait(self._flights)

    @property
    def flights(self) -> int:
        """Flushes under way."""
        return len(self._flights)

    @property
    def waiting(self) -> int:
        """Items that wait for one."""
        return len(self._waiting)

    def __call__(self, item: I) -> asyncio.Future[O]:
        """Take an item in; the future gives its outcome."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[O] = loop.create_future()
        self._waiting.append((item, future))
        weight = 1 if self._weigh is None else self._weigh(item)
        self._weight += weight
        self._hurry |= weight >= self._enough
        if self._weight >= self._max_items:
            self._launch()
        elif weight >= self._enough and not self._flights:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_soon(self._launch)
        elif self._timer is None:
            self._timer = self._schedule(loop)
        return future

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> asyncio.Handle:
        if self._busy or self._flights:
            wait_s = self._launched_at + self._window_s - loop.time()
            if wait_s > 0:
                return loop.call_later(wait_s, self._launch)
        return loop.call_soon(self._launch)

    def _launch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and len(self._flights) < self._max_flights:
            batch = self._next_batch()
            if not batch:
                continue
            self._busy = len(batch) > 1
            self._launched_at = asyncio.get_running_loop().time()
            flight = asyncio.ensure_future(self._fly(batch))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)
        self._hurry &= bool(self._waiting)

    def _next_batch(self) -> list[tuple[I, asyncio.Future[O]]]:
        """The first of those that wait, up to the weight of a batch; without those whose callers have gone."""
        taken = weight = 0
        for item, _ in self._waiting:
            item_weight = 1 if self._weigh is None else self._weigh(item)
            if taken and weight + item_weight > self._max_items:
                break
            taken, weight = taken + 1, weight + item_weight
        batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._weight -= weight
        return [(item, future) for item, future in batch if not future.done()]

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        if self._waiting and (self._hurry or self._timer is None):
            self._launch()

    async def _fly(self, batch: list[tuple[I, asyncio.Future[O]]]) -> None:
        try:
            outcomes = await self._flush([item for item, _ in batch])
            if len(outcomes) != len(batch):
                raise RuntimeError(f"flush gave {len(outcomes)} outcomes for {len(batch)} items")
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:
            outcomes = [error] * len(batch)
        task = asyncio.current_task()
        if task is not None:
            self._flights.discard(task)  # before anybody is answered, who may call again at once
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
