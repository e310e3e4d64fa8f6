"""The backends of `up` and of the demo: real servers where the environment names them, else embedded ones."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headworks_devkit.backends import KafkaBackend, RedisBackend
from headworks_devkit.backends.kafka_embedded import embedded_kafka
from headworks_devkit.backends.valkey import valkey

REDIS_VARIABLE = "HEADWORKS_REDIS_URL"
KAFKA_VARIABLE = "HEADWORKS_KAFKA_BOOTSTRAP"


@asynccontextmanager
async def chosen_redis() -> AsyncIterator[RedisBackend]:
    """HEADWORKS_REDIS_URL, else a Valkey of our own."""
    url = os.environ.get(REDIS_VARIABLE)
    if url:
        yield RedisBackend(url, f"the server of {REDIS_VARIABLE}")
    else:
        async with valkey() as server:
            yield server


@asynccontextmanager
async def chosen_kafka() -> AsyncIterator[KafkaBackend]:
    """HEADWORKS_KAFKA_BOOTSTRAP, else the embedded development broker, which lives in this process."""
    bootstrap = os.environ.get(KAFKA_VARIABLE)
    if bootstrap:
        yield KafkaBackend(bootstrap, "apache", f"the brokers of {KAFKA_VARIABLE}")
    else:
        async with embedded_kafka() as broker:
            yield broker
