"""Row 2: a worker that is killed in the middle of a job."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from headworks_client import JobState, SchedulerClient
from headworks_devkit.backends import RedisBackend
from redis.asyncio import Redis

from tests.e2e.tasks import REDIS_URL, guarded
from tests.support.suite import running_suite
from tests.support.wait import wait_until

LEASE_S = 2.0
GRACE_S = 0.5
TIMEOUT_S = 600.0
"""Of the attempt; it must not be what the job waits for."""
SLACK_S = 10.0
"""For a busy machine."""


async def test_02_the_job_of_a_killed_worker_is_taken_over_within_lease_and_grace(
    valkey_url: str, redis: Redis, tmp_path: Path
) -> None:
    async def begun(attempt: int) -> bool:
        return await redis.lrange("row2:begun", 0, -1) == [str(number).encode() for number in range(1, attempt + 1)]

    async with running_suite(RedisBackend(valkey_url, "valkey"), None, tmp_path) as suite:
        suite.env[REDIS_URL] = valkey_url
        await suite.scheduler(lease_s=LEASE_S, reconnect_grace_s=GRACE_S)
        victim = await suite.worker("victim", tasks="tests.e2e.tasks")
        async with SchedulerClient(suite.api):
            job = await guarded.options(timeout_s=TIMEOUT_S).submit(name="row2")
            await wait_until(lambda: begun(1), 20, what="the first attempt")
            await suite.worker("heir", tasks="tests.e2e.tasks")
            killed = time.monotonic()
            await victim.kill()
            await wait_until(lambda: begun(2), LEASE_S + GRACE_S + SLACK_S, what="the second attempt")
            took_s = time.monotonic() - killed
            await redis.rpush("row2:go:2", "go")
            async with asyncio.timeout(20):
                ended = await job.ended()

    assert took_s < LEASE_S + GRACE_S + SLACK_S < TIMEOUT_S
    assert (ended.state, ended.attempts, ended.lost_leases, ended.failures) == (JobState.SUCCEEDED, 2, 1, 0)
    assert await redis.get("row2:effects") == b"1"
