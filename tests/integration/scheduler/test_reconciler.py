"""A running scheduler repairs its store by itself."""

from __future__ import annotations

from redis.asyncio import Redis

from tests.integration.scheduler.conftest import Scheduler
from tests.support.raw_worker import raw_worker


async def test_a_job_that_lost_its_place_runs_all_the_same(scheduler: Scheduler, redis: Redis) -> None:
    name = await scheduler.submit(lane="l")
    tail = name.rpartition("/")[2].partition("-")[2]
    assert await redis.zrem("{hw:0}:q:default:ready:5:default:l", tail) == 1
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        (job,) = await worker.jobs(1)
    assert job.job == name
