"""Row 18: a cancel that races the end of its job, and one for a job whose worker is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from headworks.worker.v1 import session_pb2 as pb
from headworks_client import JobState, SchedulerClient
from headworks_core.errors import FailedPrecondition, Reason
from redis.asyncio import Redis

from tests.e2e.scenarios.jobs import delivered, some, submit, worker_port
from tests.support.raw_worker import RawWorker, failed, raw_worker, released
from tests.support.suite import Suite
from tests.support.told import Told, complete, relayed, told

ROUNDS = 60
Outcome = Callable[[], dict[str, object]] | None


async def cancelled(client: SchedulerClient, name: str) -> bool:
    """Ask for it; False: the job had already ended otherwise."""
    try:
        await client.cancel(name)
    except FailedPrecondition as error:
        if error.reason is not Reason.JOB_FINISHED:
            raise
        return False
    return True


async def race(client: SchedulerClient, worker: RawWorker, outcome: Outcome, head_start_s: float) -> tuple[str, bool]:
    """A leased job ends while it is being cancelled; its name, and whether the cancel was accepted."""
    (name,) = await submit(client, some(1))
    (job,) = await worker.jobs(1)
    cancelling = asyncio.create_task(cancelled(client, name))
    await asyncio.sleep(head_start_s)
    ack, accepted = await asyncio.gather(worker.finish(job, credit=1, outcome=outcome), cancelling)
    assert not ack.lost
    return name, accepted


@pytest.mark.kafka
async def test_18_a_cancel_that_races_the_end_leaves_one_end_and_one_event(suite: Suite, redis: Redis) -> None:
    assert suite.kafka is not None
    topic = "scenario18.jobs.v1"
    await suite.scheduler(kafka_topic=topic)
    outcomes: dict[str, Outcome] = {"success": None, "failure": failed, "release": lambda: released(600)}
    expected: dict[str, str] = {}
    accepted: Counter[tuple[str, bool]] = Counter()
    async with SchedulerClient(suite.api) as client, raw_worker(worker_port(suite)) as worker:
        await worker.attach(slots=2, credit=1)
        for turn in range(ROUNDS):
            for kind, outcome in outcomes.items():
                name, was = await race(client, worker, outcome, turn % 4 * 0.0015)
                accepted[kind, was] += 1
                expected[name] = "succeeded" if kind == "success" else "cancelled"
        await relayed(redis)
        snapshots = [await client.get(name) for name in expected]
    events = await told(suite.kafka.bootstrap, topic)

    assert {snapshot.name: snapshot.state.lower() for snapshot in snapshots} == expected
    assert all(complete(events[name]) for name in expected)
    assert {name: events[name][-1].what for name in expected} == expected
    assert accepted["success", True], "no cancel came first"
    assert accepted["success", False], "no end came first"
    assert not accepted["failure", False] + accepted["release", False], "a job that waits can be cancelled"


@pytest.mark.kafka
async def test_18_a_cancel_reaches_a_worker_that_comes_back_and_ends_the_job_of_one_that_does_not(
    suite: Suite, redis: Redis
) -> None:
    assert suite.kafka is not None
    topic = "scenario18away.jobs.v1"
    await suite.scheduler(lease_s=2, delivery_s=2, reconnect_grace_s=0.1, kafka_topic=topic)
    async with SchedulerClient(suite.api) as client:
        names = await submit(client, some(2))
        async with raw_worker(worker_port(suite)) as worker:
            await worker.attach(slots=2, credit=2)
            returning, lost = await worker.jobs(2)
            await worker.beat(returning, lost)
            await delivered(redis, returning, lost)
        for name in names:
            asked = await client.cancel(name)
            assert (asked.state, asked.cancel_requested) == (JobState.LEASED, True)

        held = [pb.HeldLease(job=returning.job, lease_id=returning.lease_id)]
        async with raw_worker(worker_port(suite)) as again:
            attached = await again.attach(slots=2, held=held)
            (told_to,) = (await again.next("cancel")).cancel.leases
            ack = await again.finish(returning, outcome=released)
            async with asyncio.timeout(20):
                ends = [snapshot async for snapshot in client.watch(names, terminal_only=True)]
        await relayed(redis)
    events = await told(suite.kafka.bootstrap, topic)

    assert not attached.lost
    assert not ack.lost
    assert (told_to.job, told_to.lease_id) == (returning.job, returning.lease_id)
    by_name = {snapshot.name: snapshot for snapshot in ends}
    assert {snapshot.state for snapshot in ends} == {JobState.CANCELLED}
    assert (by_name[returning.job].lost_leases, by_name[lost.job].lost_leases) == (0, 1)
    assert dict(events) == {name: [Told(1, "cancelled")] for name in names}
