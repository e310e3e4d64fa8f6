"""Rows 3, 8 and 10: a reaper beside fresh claims, a late result of an earlier run, a worker that does not read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headworks.worker.v1 import session_pb2 as pb
from headworks_client import JobState, SchedulerClient, Submission
from headworks_devkit.backends import RedisBackend
from redis.asyncio import Redis

from tests.e2e.scenarios.jobs import TASK, leased, looked_at, some, submit, worker_port
from tests.e2e.tasks import add
from tests.support.raw_worker import raw_worker, released
from tests.support.suite import Suite, running_suite

JOBS = 2_000
STALLED = 1_000
PAYLOAD = b'"' + b"x" * 20_000 + b'"'
"""So large that a thousand do not fit into the buffers of a connection."""
DELIVERY_S = 4.0
PROMPT_S = 10.0
"""For others beside a stalled worker; on an idle machine it is a few milliseconds."""


@pytest.fixture
async def alone(valkey_url: str, redis: Redis, tmp_path: Path) -> AsyncIterator[Suite]:
    """A suite on an empty Redis, without Kafka."""
    async with running_suite(RedisBackend(valkey_url, "valkey"), None, tmp_path) as suite:
        yield suite


async def test_03_reapers_leave_fresh_claims_alone(alone: Suite) -> None:
    """Two replicas reap while both claim, under leases that are much shorter than the run."""
    for name in ("scheduler-1", "scheduler-2"):
        await alone.scheduler(name, lease_s=2, delivery_s=2)
    for name in ("worker-1", "worker-2"):
        await alone.worker(name, tasks="tests.e2e.tasks", slots=20)
    async with SchedulerClient(alone.api) as client:
        names = await submit(client, [add.submission(a=number, b=1) for number in range(JOBS)])
        async with asyncio.timeout(60):
            await asyncio.gather(*(client.job(name).ended() for name in names))
        ends = await looked_at(client, names)

    assert {(job.state, job.attempts, job.lost_leases, job.undelivered) for job in ends} == {
        (JobState.SUCCEEDED, 1, 0, 0)
    }


async def test_08_a_result_of_the_run_before_the_job_was_given_back_is_refused(alone: Suite) -> None:
    await alone.scheduler()
    async with SchedulerClient(alone.api) as client, raw_worker(worker_port(alone)) as worker:
        await worker.attach(slots=2, credit=1)
        (name,) = await submit(client, some(1))
        (first,) = await worker.jobs(1)
        assert not (await worker.finish(first, outcome=released, credit=1)).lost
        (second,) = await worker.jobs(1)
        late = await worker.finish(first)
        (between,) = await looked_at(client, [name])
        assert not (await worker.finish(second)).lost
        (end,) = await looked_at(client, [name])

    assert (first.job, first.lease_id) != (second.job, second.lease_id)
    assert first.job == second.job
    assert list(late.lost) == [0]
    assert (between.state, between.lease_id) == (JobState.LEASED, second.lease_id)
    assert (end.state, end.generation) == (JobState.SUCCEEDED, 1)


async def test_10_a_worker_that_does_not_read_holds_up_nobody_else(alone: Suite, redis: Redis) -> None:
    """It beats, asks for a thousand jobs, and reads none; another's come at once, and in the end all do."""
    await alone.scheduler(delivery_s=DELIVERY_S, lease_s=60, reconnect_grace_s=1)
    async with (
        SchedulerClient(alone.api, timeout_s=20) as client,
        raw_worker(worker_port(alone)) as stalled,
        raw_worker(worker_port(alone)) as other,
    ):
        await stalled.attach(worker="stalled", slots=STALLED, credit=STALLED)
        heavy = await submit(client, [Submission(TASK, PAYLOAD) for _ in range(STALLED)])
        await leased(redis, STALLED)
        await other.attach(worker="other", slots=2 * STALLED, credit=100)
        begun = time.monotonic()
        light = await submit(client, some(100))
        mine = await other.jobs(100)
        waited_s = time.monotonic() - begun
        assert not (await other.finish(*mine)).lost
        await other.send(credit=pb.Credit(slots=STALLED))
        async with stalled.beating(), other.beating():
            rest = await other.jobs(STALLED)
        for at in range(0, STALLED, 200):
            assert not (await other.finish(*rest[at : at + 200])).lost
        ends = await looked_at(client, [*heavy, *light])

    assert {job.job for job in mine} == set(light)
    assert waited_s < PROMPT_S
    assert {job.state for job in ends} == {JobState.SUCCEEDED}
    assert {job.attempts for job in ends} == {1}
    assert {job.lost_leases for job in ends} == {0}
    assert {job.undelivered for job in ends[:STALLED]} <= {0, 1}  # 0 if the stalled session was given up before
