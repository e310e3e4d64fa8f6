"""The backends are what they say, and nothing of them stays behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from headworks_core.store import check_server, redis_client
from headworks_devkit.backends import KafkaBackend
from headworks_devkit.backends.kafka_embedded import embedded_kafka
from headworks_devkit.backends.valkey import valkey
from redis.asyncio import Redis


async def round_trip(bootstrap: str, topic: str) -> bytes:
    """Send one record with an idempotent producer and read it in a consumer group."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=f"{topic}-readers", auto_offset_reset="earliest"
    )
    async with asyncio.timeout(30), consumer, producer:
        await producer.send_and_wait(topic, b"water", key=b"mill")
        record = await consumer.getone()
        return bytes(record.value)


async def test_the_shared_server_is_fit_to_hold_jobs(redis: Redis) -> None:
    assert await check_server(redis, durable=True)


async def test_a_test_starts_with_an_empty_server(redis: Redis) -> None:
    assert await redis.dbsize() == 0
    await redis.set("left", "behind")


async def test_a_server_ends_with_its_block() -> None:
    async with valkey() as server:
        assert server.pid is not None
        async with redis_client(server.url, timeout_s=2) as client:
            assert await client.ping()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


async def test_a_killed_server_comes_back_with_what_it_had_stored(tmp_path: Path) -> None:
    options = {"appendonly": "yes", "appendfsync": "always"}
    async with valkey(options, directory=tmp_path) as server:
        assert server.pid is not None
        port = int(server.url.rpartition(":")[2].split("/")[0])
        async with redis_client(server.url, timeout_s=2) as client:
            await client.set("level", "high")
        os.kill(server.pid, 9)
    async with (
        valkey(options, port=port, directory=tmp_path) as server,
        redis_client(server.url, timeout_s=2) as client,
    ):
        assert await client.get("level") == b"high"


async def test_the_embedded_broker_carries_a_record() -> None:
    async with embedded_kafka() as broker:
        assert await round_trip(broker.bootstrap, "embedded-round-trip") == b"water"


async def test_the_chosen_broker_carries_a_record(kafka: KafkaBackend) -> None:
    assert await round_trip(kafka.bootstrap, "chosen-round-trip") == b"water"


@pytest.mark.kafka
async def test_apache_kafka_is_a_process_of_its_own(kafka: KafkaBackend) -> None:
    assert kafka.kind == "apache"
