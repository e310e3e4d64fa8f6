"""Row 9: only one direction between a worker and its scheduler is cut."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from headworks_client import JobState, SchedulerClient
from headworks_devkit.backends import RedisBackend
from redis.asyncio import Redis

from tests.e2e.tasks import REDIS_URL, guarded
from tests.support.proxy import Way, proxy
from tests.support.suite import running_suite
from tests.support.wait import wait_until

LEASE_S = 2.0
PATIENCE_S = 40.0


@pytest.mark.parametrize("way", ["up", "down"])
async def test_09_a_worker_that_is_cut_one_way_loses_its_job_and_comes_back(
    valkey_url: str, redis: Redis, tmp_path: Path, way: Way
) -> None:
    """Its job goes to another, its late effect is fenced off, and with the cut mended it works again."""

    async def begun(name: str, attempt: int) -> bool:
        return str(attempt).encode() in await redis.lrange(f"{name}:begun", 0, -1)

    async with running_suite(RedisBackend(valkey_url, "valkey"), None, tmp_path) as suite:
        suite.env[REDIS_URL] = valkey_url
        await suite.scheduler(lease_s=LEASE_S, delivery_s=LEASE_S, reconnect_grace_s=0.5)
        async with proxy(suite.worker_target) as between, SchedulerClient(suite.api):
            await suite.worker("victim", tasks="tests.e2e.tasks", through=between.address)
            job = await guarded.submit(name="cut")
            await wait_until(lambda: begun("cut", 1), PATIENCE_S, what="the first attempt")
            heir = await suite.worker("heir", tasks="tests.e2e.tasks")
            between.stall(way)
            await wait_until(lambda: begun("cut", 2), PATIENCE_S, what="the second attempt")
            await redis.rpush("cut:go:2", "go")
            async with asyncio.timeout(PATIENCE_S):
                ended = await job.ended()
            await redis.rpush("cut:go:1", "go")
            await heir.stop()
            await between.clear()
            again = await guarded.submit(name="again")
            await wait_until(lambda: begun("again", 1), PATIENCE_S, what="the victim to work again")
            await redis.rpush("again:go:1", "go")
            async with asyncio.timeout(PATIENCE_S):
                last = await again.ended()

    assert (ended.state, ended.attempts, ended.lost_leases) == (JobState.SUCCEEDED, 2, 1)
    assert await redis.get("cut:effects") == b"1"
    assert (last.state, last.attempts) == (JobState.SUCCEEDED, 1)
