"""An adaptive micro-batch: concurrent calls share one call of the thing behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

I = TypeVar("I")  # noqa: E741 - the item
O = TypeVar("O")  # noqa: E741 - its outcome


class MicroBatcher(Generic[I, O]):
    """Collects items and hands them to `flush` together.

    An idle batcher flushes on the next turn of the loop, so a lone call waits for nothing. While calls keep arriving
    (the last flush carried more than one item, or one is under way) items wait up to `window_s`, or until `max_items`.
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
    ) -> None:
        self._flush = flush
        self._max_items = max_items
        self._window_s = window_s
        self._max_flights = max_flights
        self._waiting: list[tuple[I, asyncio.Future[O]]] = []
        self._timer: asyncio.Handle | None = None
        self._flights: set[asyncio.Task[None]] = set()
        self._busy = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits until everything taken in has been answered."""
        while self._flights or self._waiting:
            self._launch()
            await asyncio.wait(self._flights)

    def __call__(self, item: I) -> asyncio.Future[O]:
        """Take an item in; the future gives its outcome."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[O] = loop.create_future()
        self._waiting.append((item, future))
        if self._timer is None:
            if self._busy or self._flights:
                self._timer = loop.call_later(self._window_s, self._launch)
            else:
                self._timer = loop.call_soon(self._launch)
        elif len(self._waiting) == self._max_items:
            self._launch()
        return future

    def _launch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and len(self._flights) < self._max_flights:
            batch, self._waiting = self._waiting[: self._max_items], self._waiting[self._max_items :]
            batch = [(item, future) for item, future in batch if not future.done()]
            if not batch:
                continue
            self._busy = len(batch) > 1
            flight = asyncio.ensure_future(self._fly(batch))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        if self._waiting and self._timer is None:
            self._launch()

    async def _fly(self, batch: list[tuple[I, asyncio.Future[O]]]) -> None:
        try:
            outcomes = await self._flush([item for item, _ in batch])
        except Exception as error:
            outcomes = [error] * len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            with suppress(asyncio.InvalidStateError):
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
