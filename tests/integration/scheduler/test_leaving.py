"""What becomes of jobs whose worker leaves, and of credit beyond its slots."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb

from tests.integration.scheduler.conftest import Scheduler, Start
from tests.support.proxy import proxy
from tests.support.raw_worker import raw_worker

LONG_S = 30.0
ROUNDS = 100


async def test_a_job_on_its_way_to_a_worker_that_drains_goes_to_another_at_once(start: Start) -> None:
    async with start(delivery_s=LONG_S, lease_s=LONG_S) as scheduler:
        async with raw_worker(scheduler.worker) as leaving, raw_worker(scheduler.worker) as other:
            await leaving.attach(worker="leaving", credit=1)
            name = await scheduler.submit()
            await scheduler.until(name, job_pb2.JOB_STATE_LEASED)  # and the worker does not read it
            await leaving.send(draining=pb.Draining())
            await leaving.leave()
            await other.attach(worker="other", credit=1)
            (job,) = await other.jobs(1)
            await other.finish(job)

        done = await scheduler.get(name)
    assert (job.job, job.attempt) == (name, 1)
    assert (done.attempts, done.lost_leases, done.undelivered) == (1, 0, 0)


async def test_a_draining_worker_whose_connection_breaks_has_not_left(start: Start) -> None:
    """A killed process looks at first as if it had half-closed; what it may be running is not given to another."""
    async with start(delivery_s=LONG_S, lease_s=LONG_S) as scheduler:
        for number in range(ROUNDS):
            name, _ = await scheduler.submit(), await scheduler.submit()
            async with (
                proxy(f"127.0.0.1:{scheduler.worker}") as between,
                raw_worker(int(between.address.rpartition(":")[2])) as killed,
            ):
                await killed.attach(worker=f"killed-{number}", credit=2)
                job, done = await killed.jobs(2)
                await killed.send(draining=pb.Draining())
                await killed.finish(done)  # so that it has been heard of
                between.cut()
                await killed.ended()
            async with raw_worker(scheduler.worker) as again:
                held = [pb.HeldLease(job=job.job, lease_id=job.lease_id)]
                attached = await again.attach(worker=f"again-{number}", held=held)
                ack = await again.finish(job)
            assert (job.job, list(attached.lost), list(ack.lost)) == (name, [], [])


async def test_a_worker_that_goes_elsewhere_keeps_what_it_holds(start: Start) -> None:
    async with start(delivery_s=LONG_S, lease_s=LONG_S) as scheduler:
        name = await scheduler.submit()
        async with raw_worker(scheduler.worker) as worker:
            await worker.attach(credit=1)
            (job,) = await worker.jobs(1)
            await worker.leave()  # without Draining
        async with raw_worker(scheduler.worker) as again:
            held = [pb.HeldLease(job=job.job, lease_id=job.lease_id)]
            attached = await again.attach(held=held)
            ack = await again.finish(job)

    assert (list(attached.lost), list(ack.lost)) == ([], [])
    assert job.job == name


async def test_a_worker_that_drains_may_finish_what_it_holds(scheduler: Scheduler) -> None:
    name = await scheduler.submit()
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        (job,) = await worker.jobs(1)
        await worker.send(draining=pb.Draining())
        await worker.beat(job)
        await worker.finish(job)
        await worker.leave()

    assert (await scheduler.get(name)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_worker_that_holds_more_than_its_slots_gets_rid_of_it(scheduler: Scheduler) -> None:
    for _ in range(3):
        await scheduler.submit()
    async with raw_worker(scheduler.worker) as before:
        await before.attach(slots=3, credit=3)
        jobs = await before.jobs(3)
        await before.beat(*jobs)
        await before.leave()
    async with raw_worker(scheduler.worker) as worker:
        held = [pb.HeldLease(job=job.job, lease_id=job.lease_id) for job in jobs]
        await worker.attach(slots=1, held=held)
        acks = [await worker.finish(job) for job in jobs]  # each with a credit of 0
        name = await scheduler.submit()
        await worker.send(credit=pb.Credit(slots=1))
        (job,) = await worker.jobs(1)

    assert [list(ack.lost) for ack in acks] == [[], [], []]
    assert job.job == name


async def test_credit_beyond_the_slots_is_refused_also_while_too_much_is_held(scheduler: Scheduler) -> None:
    for _ in range(2):
        await scheduler.submit()
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(slots=2, credit=2)
        await worker.jobs(2)
        async with asyncio.timeout(10):
            await worker.send(credit=pb.Credit(slots=1))
            assert await worker.ended() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_draining_worker_that_its_replica_sends_away_keeps_what_it_runs(start: Start) -> None:
    async with AsyncExitStack() as first, start(delivery_s=LONG_S, lease_s=LONG_S) as second:
        leaving = await first.enter_async_context(start(delivery_s=LONG_S, lease_s=LONG_S))
        name = await leaving.submit()
        async with raw_worker(leaving.worker) as worker:
            await worker.attach(credit=1)
            (job,) = await worker.jobs(1)
            await worker.beat(job)
            await worker.send(draining=pb.Draining())
            stopping = asyncio.create_task(first.aclose())
            await worker.next("drain")
            await worker.leave()
            await stopping
        still = await second.get(name)
        async with raw_worker(second.worker) as again:
            attached = await again.attach(held=[pb.HeldLease(job=job.job, lease_id=job.lease_id)])
            ack = await again.finish(job)

    assert still.state == job_pb2.JOB_STATE_LEASED
    assert (list(attached.lost), list(ack.lost)) == ([], [])
