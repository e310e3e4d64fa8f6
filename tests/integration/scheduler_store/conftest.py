"""A clock and one replica."""

from __future__ import annotations

from functools import partial

import pytest
from redis.asyncio import Redis

from tests.integration.scheduler_store.driver import Clock, Driver, Hear, listening


@pytest.fixture
def clock() -> Clock:
    """Time stands still until the test advances it."""
    return Clock()


@pytest.fixture
def driver(redis: Redis, clock: Clock) -> Driver:
    """One replica on an empty server."""
    return Driver(redis, clock)


@pytest.fixture
def hear(redis: Redis) -> Hear:
    """Listens to channels while a block runs."""
    return partial(listening, redis)
