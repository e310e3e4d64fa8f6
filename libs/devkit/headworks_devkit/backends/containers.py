"""Valkey and Apache Kafka in containers, where a Docker engine answers and testcontainers is installed."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from headworks_devkit.backends import BackendUnavailable, KafkaBackend, RedisBackend
from headworks_devkit.ports import free_port

VALKEY_IMAGE = "valkey/valkey:9.0"
KAFKA_IMAGE = "apache/kafka:4.1.1"


def require_engine() -> None:
    """Raises BackendUnavailable, saying what is missing, unless containers can be started here."""
    try:
        import testcontainers  # noqa: F401, PLC0415 - an optional extra
    except ImportError as error:
        raise BackendUnavailable("testcontainers is not installed: install headworks[containers]") from error
    try:
        subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise BackendUnavailable("no Docker engine answers `docker info`") from error


@asynccontextmanager
async def container_redis() -> AsyncIterator[RedisBackend]:
    """A Valkey container on a free loopback port."""
    port = free_port()
    async with _container(VALKEY_IMAGE, 6379, port, {}, ready="Ready to accept connections"):
        yield RedisBackend(f"redis://127.0.0.1:{port}/0", f"container {VALKEY_IMAGE}")


@asynccontextmanager
async def container_kafka() -> AsyncIterator[KafkaBackend]:
    """An Apache Kafka container that advertises a free loopback port."""
    port = free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_NUM_PARTITIONS": "4",
    }
    async with _container(KAFKA_IMAGE, 9092, port, settings, ready="Kafka Server started"):
        yield KafkaBackend(f"127.0.0.1:{port}", "apache", f"container {KAFKA_IMAGE}")


@asynccontextmanager
async def _container(image: str, inner: int, port: int, settings: dict[str, str], *, ready: str) -> AsyncIterator[None]:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - an optional extra
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    container: Any = DockerContainer(image).with_bind_ports(inner, port)
    for key, value in settings.items():
        container = container.with_env(key, value)
    container = container.waiting_for(LogMessageWaitStrategy(ready))
    try:
        await asyncio.to_thread(container.start)
        yield
    finally:
        await asyncio.to_thread(container.stop)
