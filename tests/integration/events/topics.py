"""What a topic holds, read without a group and without our own reader."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.wait import wait_until


def new_topic() -> str:
    """A name that nobody else uses."""
    return f"headworks.{uuid.uuid4().hex}.v1"


async def create(bootstrap: str, topic: str, *, partitions: int = 4, configs: dict[str, str] | None = None) -> None:
    """Create a topic; on a broker without administration, by naming it."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        if producer.client.cluster.controller is not None:
            await _create(bootstrap, NewTopic(topic, partitions, 1, topic_configs=configs))
        await producer.partitions_for(topic)
    finally:
        await producer.stop()


async def _create(bootstrap: str, topic: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        reply = await admin.create_topics([topic])
        assert reply.topic_errors[0][1] == 0, reply
    finally:
        await admin.close()


@dataclass
class Tap:
    """Everything a topic has held since the tap was opened."""

    records: list[ConsumerRecord[bytes, bytes]] = field(default_factory=list)

    def sequences(self) -> dict[str, list[int]]:
        """The sequences of each job's events, in the order in which the topic has them."""
        found: dict[str, list[int]] = defaultdict(list)
        for record in self.records:
            assert record.key is not None
            found[record.key.decode()].append(int(dict(record.headers)["ce_sequence"]))
        return dict(found)

    def first_deliveries(self) -> dict[str, list[int]]:
        """The same without duplicates."""
        return {job: list(dict.fromkeys(sequences)) for job, sequences in self.sequences().items()}

    @property
    def ids(self) -> set[bytes]:
        """The ids of all events."""
        return {dict(record.headers)["ce_id"] for record in self.records}

    async def until(self, enough: Callable[[Tap], bool], what: str, timeout_s: float = 30) -> None:
        """Wait until the tap has what is wanted."""
        await wait_until(lambda: enough(self), timeout_s, what=what)

    async def until_events(self, count: int) -> None:
        """Wait until that many different events are there."""
        await self.until(lambda tap: len(tap.ids) >= count, f"{count} events")


@asynccontextmanager
async def tapped(bootstrap: str, topic: str, *, partitions: int = 4) -> AsyncIterator[Tap]:
    """Collect a topic's records while the block runs; it must exist."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
    await consumer.start()
    tap = Tap()

    async def collect() -> None:
        async for record in consumer:
            tap.records.append(record)

    collecting = asyncio.create_task(collect())
    try:
        yield tap
    finally:
        collecting.cancel()
        await asyncio.wait({collecting})
        await consumer.stop()
