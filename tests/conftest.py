"""Fixtures for all tests: a Redis and a Kafka, real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from headworks_core.store import redis_client
from headworks_devkit.backends import KafkaBackend
from redis.asyncio import Redis

from tests.support import backends


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--backends`."""
    parser.addoption(
        "--backends", choices=["local", "containers"], default="local", help="where Redis and Kafka come from"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the backends, now that it is known who needs which."""
    used = {name for item in items for name in getattr(item, "fixturenames", ())}
    plan = backends.plan(config.getoption("--backends"), used)
    config.stash[backends.PLAN] = plan
    if not plan.apache:
        backends.skip_what_needs_apache(items, plan.header[-1])


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say which backends those are."""
    return list(config.stash[backends.PLAN].header)


@pytest.fixture(scope="session")
async def valkey_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The address of a server that nobody else uses, `redis://host:port/0`."""
    chosen = request.config.stash[backends.PLAN].redis
    assert chosen is not None
    async with chosen as server:
        yield server.url


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    """A client of an empty server."""
    async with redis_client(valkey_url, timeout_s=10) as client:
        await client.flushall()
        yield client


@pytest.fixture(scope="session")
async def kafka(request: pytest.FixtureRequest) -> AsyncIterator[KafkaBackend]:
    """A running broker: `.bootstrap`, and `.kind` "apache" or "embedded". Topics appear when they are named."""
    chosen = request.config.stash[backends.PLAN].kafka
    assert chosen is not None
    async with chosen as broker:
        yield broker
