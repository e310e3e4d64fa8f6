"""A scheduler that stands still for longer than a lease has not lost the workers that went on meanwhile."""

from __future__ import annotations

import asyncio

from headworks_client import Job, SchedulerClient

from tests.e2e.tasks import spin
from tests.support.suite import Suite

LEASE_S = 2.0


async def test_a_frozen_scheduler_takes_no_lease_before_it_has_read_the_heartbeats(suite: Suite) -> None:
    scheduler = await suite.scheduler(lease_s=LEASE_S, delivery_s=1.0, reconnect_grace_s=LEASE_S)
    await suite.worker(tasks="tests.e2e.tasks", slots=8)
    async with SchedulerClient(suite.api) as client:
        (job,) = await client.submit_many([spin.submission(seconds=10 * LEASE_S)])
        assert isinstance(job, Job)
        await asyncio.sleep(2 * LEASE_S)
        for _ in range(3):
            scheduler.pause()
            await asyncio.sleep(1.6 * LEASE_S)
            scheduler.resume()
            await asyncio.sleep(0.6 * LEASE_S)
            now = await job.get()
            assert (now.attempts, now.lost_leases, now.undelivered) == (1, 0, 0)
        await job.cancel()
    assert any("reaper.stood_still" in line for line in suite.logs["scheduler-1"])
