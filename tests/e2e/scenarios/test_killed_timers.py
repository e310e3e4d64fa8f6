"""Row 22: schedulers that are killed while thousands of delays end."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from headworks_client import JobState, SchedulerClient
from headworks_client.submissions import Submission
from headworks_devkit.backends import RedisBackend
from redis.asyncio import Redis

from tests.e2e.scenarios.jobs import TASK, looked_at, submit, worker_port
from tests.support.raw_worker import raw_worker
from tests.support.suite import running_suite
from tests.support.wait import wait_until

JOBS = 4_000
TIMERS = "{hw:0}:timers"


async def test_22_a_scheduler_killed_while_delays_end_loses_no_job_and_runs_none_twice(
    valkey_url: str, redis: Redis, tmp_path: Path
) -> None:
    luck = random.Random(22)
    left: list[int] = []
    async with running_suite(RedisBackend(valkey_url, "valkey"), None, tmp_path) as suite:
        process = await suite.scheduler()
        async with SchedulerClient(suite.api) as client:
            delays = [luck.uniform(1, 5) for _ in range(JOBS)]
            names = await submit(client, [Submission(TASK, delay_s=delay) for delay in delays])
        while count := await redis.zcard(TIMERS):
            left.append(count)
            await fewer(redis, count)
            await asyncio.sleep(luck.uniform(0, 0.1))  # the kill comes anywhere between two script calls, or in one
            await process.kill()
            process = await suite.restart("scheduler-1")
        async with SchedulerClient(suite.api) as client, raw_worker(worker_port(suite)) as worker:
            await worker.attach(slots=2 * JOBS, credit=2 * JOBS)
            jobs = await worker.jobs(JOBS)
            for at in range(0, JOBS, 500):
                assert not (await worker.finish(*jobs[at : at + 500])).lost
            ends = await looked_at(client, names)
            counts = await redis.hgetall("{hw:0}:q:default:counts")

    assert sorted(job.job for job in jobs) == sorted(names)
    assert {(job.state, job.attempts, job.undelivered) for job in ends} == {(JobState.SUCCEEDED, 1, 0)}
    assert counts == {}
    assert len(left) >= 4, f"kills came too late to say anything: {left}"


async def fewer(redis: Redis, count: int) -> None:
    """Wait until timers have fired."""

    async def fired() -> bool:
        return await redis.zcard(TIMERS) < count

    await wait_until(fired, 10, what="timers to fire")
