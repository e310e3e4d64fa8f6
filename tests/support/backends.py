"""Which Redis and which Kafka a run uses: decided once after collection, and told in the header.

HEADWORKS_TEST_REDIS_URL (a server whose data may be flushed) and HEADWORKS_TEST_KAFKA_BOOTSTRAP name running servers;
`--backends=containers` starts containers; otherwise Valkey comes from the wheel, and Kafka is Apache Kafka where Java
and its jars can be had, else the embedded broker. With HEADWORKS_REQUIRE_KAFKA=1 nothing less than Kafka itself does.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import pytest
from headworks_devkit.backends import BackendUnavailable, KafkaBackend, RedisBackend, containers
from headworks_devkit.backends.kafka_apache import Installation, apache_kafka, find_installation
from headworks_devkit.backends.kafka_embedded import embedded_kafka
from headworks_devkit.backends.valkey import find_server, valkey

B = TypeVar("B", RedisBackend, KafkaBackend)


@dataclass(frozen=True, slots=True)
class Plan:
    """The backends of this run, and in words what they are and why."""

    redis: AbstractAsyncContextManager[RedisBackend] | None
    kafka: AbstractAsyncContextManager[KafkaBackend] | None
    apache: bool
    header: tuple[str, ...]


PLAN = pytest.StashKey[Plan]()


def plan(kind: str, fixtures: set[str]) -> Plan:
    """Choose backends for tests that use `fixtures`. May fetch Kafka's jars, once."""
    if kind == "containers":
        try:
            containers.require_engine()
        except BackendUnavailable as error:
            raise pytest.UsageError(f"--backends=containers: {error}") from error
    redis, redis_words = _choose_redis(kind) if "valkey_url" in fixtures else (None, "")
    kafka, apache, kafka_words = _choose_kafka(kind) if "kafka" in fixtures else (None, True, "")
    if not apache and os.environ.get("HEADWORKS_REQUIRE_KAFKA") == "1":
        raise pytest.UsageError(f"HEADWORKS_REQUIRE_KAFKA=1, but {kafka_words}")
    return Plan(redis, kafka, apache, tuple(filter(None, (redis_words, kafka_words))))


def _choose_redis(kind: str) -> tuple[AbstractAsyncContextManager[RedisBackend], str]:
    url = os.environ.get("HEADWORKS_TEST_REDIS_URL")
    if url:
        backend = RedisBackend(url, "the server of HEADWORKS_TEST_REDIS_URL")
        return _given(backend), f"redis: {backend.address} (HEADWORKS_TEST_REDIS_URL)"
    if kind == "containers":
        return containers.container_redis(), f"redis: container {containers.VALKEY_IMAGE} (--backends=containers)"
    try:
        program, name = find_server()
    except BackendUnavailable as error:
        raise pytest.UsageError(f"tests need a server: {error}") from error
    return valkey(), f"redis: {name} ({program})"


def _choose_kafka(kind: str) -> tuple[AbstractAsyncContextManager[KafkaBackend], bool, str]:
    bootstrap = os.environ.get("HEADWORKS_TEST_KAFKA_BOOTSTRAP")
    if bootstrap:
        backend = KafkaBackend(bootstrap, "apache", bootstrap)
        return _given(backend), True, f"kafka: {bootstrap} (HEADWORKS_TEST_KAFKA_BOOTSTRAP)"
    if kind == "containers":
        words = f"kafka: container {containers.KAFKA_IMAGE} (--backends=containers)"
        return containers.container_kafka(), True, words
    try:
        found: Installation = find_installation()
    except BackendUnavailable as error:
        return embedded_kafka(), False, f"kafka: the embedded broker, because {error}"
    return apache_kafka(found), True, f"kafka: Apache Kafka ({found.jars}, {found.java})"


@asynccontextmanager
async def _given(backend: B) -> AsyncIterator[B]:
    yield backend


def skip_what_needs_apache(items: Iterable[pytest.Item], reason: str) -> None:
    """Skip the tests marked `kafka`."""
    for item in items:
        if item.get_closest_marker("kafka"):
            item.add_marker(pytest.mark.skip(reason=f"needs Apache Kafka; this run has {reason}"))
