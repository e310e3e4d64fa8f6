"""Ends reservations of platform rules: concurrent ones in one script call a cell, and those left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import NamedTuple

import structlog
from headworks_core.batching import MicroBatcher
from headworks_core.errors import ServiceError
from headworks_core.loops import every
from headworks_core.measures import Tally

from headworks_limiter.buckets import Buckets
from headworks_limiter.domain.ask import Platform
from headworks_limiter.domain.reservations import Concluded, Conclusion, Ending
from headworks_limiter.domain.rule import reserved_key
from headworks_limiter.lanes import Lanes
from headworks_limiter.store.breaker import Breaker, Breakers

log = structlog.get_logger(__name__)

MAX_ENDINGS = 250
MAX_FLIGHTS = 4
LOOK_S = 0.5
NAMES = {Conclusion.CONFIRM: "confirmed", Conclusion.REFUND: "refunded", Conclusion.REFUSE: "refunded"}


Directly = Callable[[int, Callable[[], Awaitable[Concluded]]], Awaitable[Concluded]]


class _Item(NamedTuple):
    where: Platform
    endings: Sequence[Ending]


class Reservations:
    """Ends them, and counts. Everything in it may fail: what is not ended ends by itself."""

    def __init__(self, store: Buckets, breaker: Breaker | Breakers, directly: Directly, *, ttl_us: int) -> None:
        """`directly` calls the store for a cell, and minds its breaker; `ttl_us` is when one ends by itself."""
        self._store = store
        self._directly = directly
        self.ttl_us = ttl_us
        self.ended = Tally({(name,): 0 for name in ("confirmed", "refunded", "late", "expired")})
        """Reservations, by how they ended, as far as this replica has seen to it."""
        self.expired_permits = 0
        """Permits that came back because nobody had ended their reservation in time."""
        self._standing: dict[int, int] = {}
        self._batcher: Lanes[_Item, Sequence[bool]] = Lanes(
            lambda: MicroBatcher(
                self._flush, max_items=MAX_ENDINGS, max_flights=MAX_FLIGHTS, weigh=lambda item: len(item.endings)
            ),
            of=lambda item: breaker.of(item.where.cell),
        )

    @property
    def standing_permits(self) -> int:
        """Permits reserved, in all cells that were looked at, when they last were."""
        return sum(self._standing.values())

    def end(self, where: Platform, endings: Sequence[Ending]) -> asyncio.Future[Sequence[bool]]:
        """Whether each stood until now. The future raises Unavailable; it need not be waited for."""
        future = self._batcher(_Item(where, endings))
        future.add_done_callback(_retrieve)
        return future

    async def close(self) -> None:
        """Waits until all that were to be ended are."""
        await self._batcher.__aexit__(None, None, None)

    async def follow(self, places: Callable[[], Sequence[Platform]]) -> None:
        """Until cancelled, look at these cells every half second, or more often where reservations are shorter."""

        async def look() -> None:
            await self.look(places())

        await every(min(LOOK_S, self.ttl_us / 1e6), look, name="reservations")

    async def look(self, places: Sequence[Platform]) -> None:
        """Give back what others have left behind in these cells, and see what is reserved there."""
        self._standing = {where.cell: self._standing.get(where.cell, 0) for where in places}
        for where in places:
            try:
                self._standing[where.cell] = (await self._conclude(where, ())).standing_permits
            except ServiceError:
                continue  # it was logged, and its reservations wait

    async def _flush(self, items: list[_Item]) -> list[Sequence[bool] | Exception]:
        outcomes: list[Sequence[bool] | Exception] = [()] * len(items)
        by_place: dict[Platform, list[int]] = {}
        for index, item in enumerate(items):
            by_place.setdefault(item.where, []).append(index)

        async def conclude(where: Platform, indexes: Sequence[int]) -> None:
            try:
                what = await self._conclude(where, [each for index in indexes for each in items[index].endings])
            except ServiceError as error:
                for index in indexes:
                    outcomes[index] = error
                return
            done = iter(what.done)
            for index in indexes:
                outcomes[index] = list(islice(done, len(items[index].endings)))

        await asyncio.gather(*(conclude(*each) for each in by_place.items()))
        return outcomes

    async def _conclude(self, where: Platform, endings: Sequence[Ending]) -> Concluded:
        reserved = reserved_key(where.prefix)
        what = await self._directly(where.cell, lambda: self._store.conclude(reserved, endings))
        for ending, done in zip(endings, what.done, strict=True):
            if done or ending.conclusion is Conclusion.CONFIRM:
                self.ended[NAMES[ending.conclusion] if done else "late",] += 1
        if what.expired:
            self.ended["expired",] += what.expired
            self.expired_permits += what.expired_permits
            log.warning("reservations.expired", cell=where.cell, count=what.expired, permits=what.expired_permits)
        return what


def _retrieve(future: asyncio.Future[Sequence[bool]]) -> None:
    """Take note of an outcome that nobody may be waiting for."""
    if not future.cancelled():
        future.exception()
