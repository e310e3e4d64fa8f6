"""Fixtures for all tests: a Redis and a Kafka, real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
from headworks_core.store import redis_client
from headworks_devkit.backends import KafkaBackend, RedisBackend
from redis.asyncio import Redis

from tests.support import backends
from tests.support.suite import LOGS, Suite, report_logs, running_suite


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
    plan = config.stash.get(backends.PLAN, None)
    return list(plan.header) if plan else []  # None: the choice has just been refused


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


@pytest.fixture
async def suite(
    request: pytest.FixtureRequest, redis: Redis, valkey_url: str, kafka: KafkaBackend, tmp_path: Path
) -> AsyncIterator[Suite]:
    """Service processes around an empty Redis and the broker; see `tests.support.suite`."""
    async with running_suite(RedisBackend(valkey_url, "valkey"), kafka, tmp_path) as running:
        request.node.stash[LOGS] = running.logs
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what its processes logged."""
    report = yield
    if report.failed:
        report_logs(item.stash.get(LOGS, {}), report)
    return report
