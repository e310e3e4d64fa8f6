"""A Kafka subscriber that is there from the start and counts what it hears."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

from headworks_client.events import Event, EventReader
from headworks_core.loops import running

from headworks_devkit.demo.report import Events
from headworks_devkit.waiting import wait_until

ENDINGS = frozenset({"succeeded", "dead", "cancelled"})
EVENTS_TIMEOUT_S = 20.0


class Subscriber:
    """Hears every event of the topic."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self._heard: Counter[str] = Counter()
        self._ended: set[str] = set()

    async def listen(self) -> None:
        """Until cancelled."""
        await self._reader.run(self._hear)

    async def _hear(self, event: Event) -> None:
        self._heard[event.subject] += 1
        if event.transition in ENDINGS:
            self._ended.add(event.subject)

    async def heard_of(self, jobs: Collection[str]) -> Events:
        """What was heard of these jobs, once all their ends were; or after a while without.

        A named broker may have events of earlier runs; they do not count.
        """
        wanted = set(jobs)
        with suppress(TimeoutError):  # the report says how many are missing
            await wait_until(lambda: wanted <= self._ended, EVENTS_TIMEOUT_S, what="events", period_s=0.05)
        unique = sum(self._heard[job] for job in wanted)
        return Events(unique, self._reader.stats.duplicates, len(wanted - self._ended))


@asynccontextmanager
async def subscribed(bootstrap: str) -> AsyncIterator[Subscriber]:
    """A subscriber in a group of its own, listening while the block runs."""
    async with EventReader(bootstrap, group=f"headworks-demo-{uuid.uuid4()}") as reader:
        subscriber = Subscriber(reader)
        async with running(subscriber.listen()):
            yield subscriber
