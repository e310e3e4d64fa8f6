"""Topics: found, or created where the broker allows it."""

from __future__ import annotations

import asyncio

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from headworks_scheduler.sinks import SinkUnavailable

log = structlog.get_logger(__name__)

LOOKUP_S = 5.0
MAX_REPLICAS = 3


async def partitions_of(producer: AIOKafkaProducer, bootstrap: str, topic: str, *, wanted: int) -> int:
    """How many partitions a topic has. A missing one is created with `wanted`.

    Raises SinkUnavailable, naming the topic, where that is not allowed.
    """
    try:
        async with asyncio.timeout(LOOKUP_S):
            # Asking for one topic by name may create it, with the broker's idea of its partitions.
            metadata = await producer.client.fetch_all_metadata()
            if topic not in metadata.topics() and metadata.controller is not None:
                await _create(bootstrap, topic, wanted, min(MAX_REPLICAS, len(metadata.brokers())))
            return len(await producer.partitions_for(topic))
    except (KafkaError, TimeoutError) as error:
        message = f"topic {topic} does not exist and cannot be created, or cannot be written to: {error!r}"
        raise SinkUnavailable(message) from error


async def _create(bootstrap: str, topic: str, partitions: int, replicas: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=int(LOOKUP_S * 1000))
    try:
        await admin.start()
        reply = await admin.create_topics([NewTopic(topic, partitions, replicas)])
    finally:
        await admin.close()
    error = for_code(reply.topic_errors[0][1])
    if error.errno == 0:
        log.info("events.topic_created", topic=topic, partitions=partitions, replicas=replicas)
    elif error is not TopicAlreadyExistsError:
        log.warning("events.topic_missing", topic=topic, error=error.__name__, message=reply.topic_errors[0][2])
