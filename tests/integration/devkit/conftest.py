"""The suite that commands talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from headworks_devkit import services
from headworks_devkit.backends.kafka_embedded import embedded_kafka
from headworks_devkit.backends.valkey import valkey
from headworks_devkit.ports import free_ports

from tests.integration.devkit.command import RULES, Cli

SAMPLE = "headworks_devkit.sample"


@pytest.fixture(scope="package")
async def cli() -> AsyncIterator[Cli]:
    """A limiter, a scheduler and a worker with the sample tasks, around embedded backends."""
    limits, api, worker_port, health = (f"127.0.0.1:{port}" for port in free_ports(4))
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(valkey())
        kafka = await stack.enter_async_context(embedded_kafka())
        limiter = services.limiter("limiter", address=limits, redis=redis, rules=RULES)
        scheduler = services.scheduler("scheduler", address=api, worker_address=worker_port, redis=redis, kafka=kafka)
        worker = services.worker("worker", tasks=SAMPLE, scheduler=worker_port, api=api, limiter=limits, health=health)
        for service in (limiter, scheduler, worker):
            await stack.enter_async_context(services.running(service))
        yield Cli(api, limits, kafka.bootstrap)
