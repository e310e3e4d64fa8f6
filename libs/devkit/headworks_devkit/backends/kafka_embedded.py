"""An in-memory broker that speaks Kafka's protocol: librdkafka's mock cluster, inside this very process.

For development: it keeps about 5 MB a partition, nothing on disk, and forgets what a late consumer has not read, so
subscribe first. Topics appear when somebody names them, with four partitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headworks_devkit.backends import KafkaBackend

START_TIMEOUT_S = 10.0


@asynccontextmanager
async def embedded_kafka(*, brokers: int = 1) -> AsyncIterator[KafkaBackend]:
    """A running mock cluster; it lives in threads of this process and ends with the block."""
    from confluent_kafka import Producer, libversion  # noqa: PLC0415 - only needed where no other broker is

    owner = await asyncio.to_thread(Producer, {"test.mock.num.brokers": brokers, "log_level": 0})
    try:
        metadata = await asyncio.to_thread(owner.list_topics, timeout=START_TIMEOUT_S)
        bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())
        yield KafkaBackend(bootstrap, "embedded", f"librdkafka {libversion()[0]} mock cluster (development only)")
    finally:
        await asyncio.to_thread(owner.close)
