"""Everything that a topic has told about its jobs, read once from the beginning to the present end."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from tests.support.wait import wait_until

READ_S = 30.0
TERMINAL = frozenset({"succeeded", "dead", "cancelled"})


class Told(NamedTuple):
    """One event."""

    sequence: int
    what: str
    """succeeded, dead, cancelled or retrying."""


async def relayed(redis: Redis, timeout_s: float = 30.0) -> None:
    """Wait until the broker has acknowledged everything in the outbox of cell 0."""

    async def empty() -> bool:
        return not await redis.xlen("{hw:0}:outbox")

    await wait_until(empty, timeout_s, what="an empty outbox")


async def told(bootstrap: str, topic: str) -> dict[str, list[Told]]:
    """The events of each job in the order in which the topic has them, repeated deliveries dropped as docs/events.md
    tells subscribers to."""
    jobs: dict[str, list[Told]] = defaultdict(list)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with asyncio.timeout(READ_S):
        await consumer.start()
        try:
            metadata = await consumer._client.fetch_all_metadata()
            places = [TopicPartition(topic, number) for number in metadata.partitions_for_topic(topic) or ()]
            assert places, f"there is no topic {topic}"
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            while any([await consumer.position(place) < ends[place] for place in places]):
                for records in (await consumer.getmany(timeout_ms=200, max_records=2_000)).values():
                    for record in records:
                        headers = dict(record.headers)
                        event = Told(int(headers["ce_sequence"]), headers["ce_type"].decode().split(".")[3])
                        events = jobs[headers["ce_subject"].decode()]
                        if not events or event.sequence > events[-1].sequence:
                            events.append(event)
        finally:
            await consumer.stop()
    return jobs


def complete(events: list[Told]) -> bool:
    """Numbered from 1 without a gap, and exactly one, the last, says how the job ended."""
    numbered = [event.sequence for event in events] == list(range(1, len(events) + 1))
    return numbered and [event.what in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
