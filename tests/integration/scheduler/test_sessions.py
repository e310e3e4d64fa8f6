"""What workers and the scheduler owe each other."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as spb
from headworks.worker.v1 import session_pb2 as pb

from tests.integration.scheduler.conftest import Scheduler, Start
from tests.support.raw_worker import failed, raw_worker, released


async def test_idle_credit_is_used_as_soon_as_a_job_is_submitted(scheduler: Scheduler) -> None:
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=3)

        names = [await scheduler.submit() for _ in range(3)]
        jobs = await worker.jobs(3)

    assert [job.job for job in jobs] == names
    assert len({job.lease_id for job in jobs}) == 3


async def test_never_more_jobs_are_out_than_there_is_credit(scheduler: Scheduler) -> None:
    names = [await scheduler.submit() for _ in range(5)]
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=2)
        await worker.finish(*await worker.jobs(2))  # no credit comes with the results
        states = [(await scheduler.get(name)).state for name in names]
        await worker.send(credit=pb.Credit(slots=3))
        await worker.jobs(3)

    assert states == [job_pb2.JOB_STATE_SUCCEEDED] * 2 + [job_pb2.JOB_STATE_READY] * 3


async def test_a_batch_of_results_is_acknowledged_with_those_that_came_too_late(scheduler: Scheduler) -> None:
    await scheduler.submit()
    await scheduler.submit()
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=2)
        good, stale = await worker.jobs(2)
        stale.lease_id -= 1

        ack = await worker.finish(good, stale)

    assert list(ack.lost) == [1]
    assert (await scheduler.get(good.job)).state == job_pb2.JOB_STATE_SUCCEEDED
    assert (await scheduler.get(stale.job)).state == job_pb2.JOB_STATE_LEASED


async def test_a_result_sent_again_after_a_lost_ack_is_acknowledged_again(scheduler: Scheduler) -> None:
    name = await scheduler.submit()
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        jobs = await worker.jobs(1)
        await worker.finish(*jobs)

        again = await worker.finish(*jobs, outcome=failed)

    assert list(again.lost) == []
    assert (await scheduler.get(name)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_running_job_is_cancelled_when_its_worker_agrees(scheduler: Scheduler) -> None:
    name = await scheduler.submit()
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        (job,) = await worker.jobs(1)
        response = await scheduler.stub.CancelJob(spb.CancelJobRequest(name=name))
        (asked,) = (await worker.next("cancel")).cancel.leases
        await worker.finish(job, outcome=released)

    assert response.job.state == job_pb2.JOB_STATE_LEASED
    assert response.job.cancel_requested
    assert 0 < response.lease_remaining.ToSeconds() <= 30
    assert (asked.job, asked.lease_id) == (name, job.lease_id)
    assert (await scheduler.get(name)).state == job_pb2.JOB_STATE_CANCELLED


async def test_a_request_to_cancel_reaches_a_worker_of_another_replica(start: Start) -> None:
    async with start(replica="a") as first, start(replica="b") as second:
        name = await first.submit()
        async with raw_worker(first.worker) as worker:
            await worker.attach(credit=1)
            await worker.jobs(1)
            await second.stub.CancelJob(spb.CancelJobRequest(name=name))

            assert (await worker.next("cancel")).cancel.leases[0].job == name


async def test_a_released_job_keeps_its_place_and_its_attempts(scheduler: Scheduler) -> None:
    first, second = await scheduler.submit(), await scheduler.submit()
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        (job,) = await worker.jobs(1)
        await worker.finish(job, credit=2, outcome=released)
        again = await worker.jobs(2)

    assert [job.job for job in again] == [first, second]
    assert again[0].attempt == 1
    assert again[0].lease_id > job.lease_id


async def test_a_lease_that_was_never_confirmed_comes_back_uncounted(start: Start) -> None:
    async with start(delivery_s=0.2, lease_s=30) as scheduler:
        name = await scheduler.submit()
        async with raw_worker(scheduler.worker) as dead:
            await dead.attach(worker="dead", credit=1)
            await dead.jobs(1)
        async with raw_worker(scheduler.worker) as worker:
            await worker.attach(worker="alive", credit=1)
            (job,) = await worker.jobs(1)
            await worker.finish(job)

        done = await scheduler.get(name)
    assert (done.attempts, done.undelivered, done.lost_leases) == (1, 1, 0)
    assert done.worker == "alive"


async def test_a_late_completion_is_refused_and_the_worker_hears_of_it(start: Start) -> None:
    async with start(delivery_s=0.3, lease_s=0.3) as scheduler:
        name = await scheduler.submit()
        async with raw_worker(scheduler.worker) as slow, raw_worker(scheduler.worker) as quick:
            await slow.attach(worker="slow", credit=1)
            (stale,) = await slow.jobs(1)
            await slow.beat(stale)
            await quick.attach(worker="quick", credit=1)
            (fresh,) = await quick.jobs(1)

            await slow.beat(stale)
            (lost,) = (await slow.next("lease_lost")).lease_lost.leases
            late = await slow.finish(stale)
            await quick.finish(fresh)

        job = await scheduler.get(name)
    assert (lost.job, lost.lease_id) == (name, stale.lease_id)
    assert list(late.lost) == [0]
    assert fresh.lease_id > stale.lease_id
    assert (job.worker, job.lost_leases, job.attempts) == ("quick", 1, 2)


async def test_held_leases_are_resumed_by_any_replica(start: Start) -> None:
    async with start(replica="a") as first, start(replica="b") as second:
        await first.submit()
        async with raw_worker(first.worker) as worker:
            await worker.attach(credit=1)
            (job,) = await worker.jobs(1)
        async with raw_worker(second.worker) as worker:
            held = pb.HeldLease(job=job.job, lease_id=job.lease_id)
            gone = pb.HeldLease(job=job.job, lease_id=job.lease_id - 1)
            attached = await worker.attach(held=[held, gone])
            ack = await worker.finish(job)

        assert [(lease.job, lease.lease_id) for lease in attached.lost] == [(job.job, job.lease_id - 1)]
        assert list(ack.lost) == []
        assert (await first.get(job.job)).attempts == 1


async def test_a_stopping_replica_sends_its_workers_elsewhere(start: Start) -> None:
    async with AsyncExitStack() as stack, start(replica="b") as second, raw_worker(second.worker) as elsewhere:
        replica = AsyncExitStack()
        first = await replica.enter_async_context(start(replica="a"))
        worker = await stack.enter_async_context(raw_worker(first.worker))
        await worker.attach(credit=1)
        await first.submit()
        (job,) = await worker.jobs(1)
        stopping = asyncio.create_task(replica.aclose())
        await worker.next("drain")
        attached = await elsewhere.attach(held=[pb.HeldLease(job=job.job, lease_id=job.lease_id)])
        ack = await elsewhere.finish(job)
        await worker.leave()
        await stopping

        assert not attached.lost
        assert not ack.lost
        assert (await second.get(job.job)).attempts == 1


async def test_a_strict_worker_gets_its_first_queue_first(scheduler: Scheduler) -> None:
    other = await scheduler.submit(queue="other")
    default = await scheduler.submit(queue="default")
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(queues=[("default", 1), ("other", 1)], order=pb.QUEUE_ORDER_STRICT)
        await worker.send(credit=pb.Credit(slots=1))
        (first,) = await worker.jobs(1)
        await worker.finish(first, credit=1)
        (second,) = await worker.jobs(1)

    assert [first.job, second.job] == [default, other]


async def test_weights_share_a_worker_between_its_queues(scheduler: Scheduler) -> None:
    for _ in range(40):
        await scheduler.submit(queue="default")
        await scheduler.submit(queue="other")
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(queues=[("default", 3), ("other", 1)], slots=40, credit=40)
        jobs = await worker.jobs(40)

    of_default = sum("/queues/default/" in job.job for job in jobs)
    assert of_default == 30


BROKEN: list[tuple[str, pb.SessionRequest]] = [
    ("credit beyond the slots", pb.SessionRequest(credit=pb.Credit(slots=11))),
    ("a second attach", pb.SessionRequest(attach=pb.Attach(protocol=1, worker="w"))),
    ("an empty message", pb.SessionRequest()),
]


@pytest.mark.parametrize(("what", "message"), BROKEN)
async def test_a_session_that_breaks_the_protocol_is_ended(
    scheduler: Scheduler, what: str, message: pb.SessionRequest
) -> None:
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(slots=10)
        await worker.call.write(message)

        assert await worker.ended() == grpc.StatusCode.FAILED_PRECONDITION, what


MALFORMED: list[tuple[str, pb.SessionRequest]] = [
    ("negative credit", pb.SessionRequest(credit=pb.Credit(slots=-1))),
    ("an empty batch", pb.SessionRequest(results=pb.Results(batch=1))),
    ("a name that is none", pb.SessionRequest(heartbeat=pb.Heartbeat(held=[pb.HeldLease(job="x", lease_id=1)]))),
    (
        "a result without an outcome",
        pb.SessionRequest(
            results=pb.Results(batch=1, results=[pb.Result(job="tenants/a/queues/b/jobs/0-c", lease_id=1)])
        ),
    ),
    (
        "a cell that does not exist",
        pb.SessionRequest(
            results=pb.Results(
                batch=1, results=[pb.Result(job="tenants/a/queues/b/jobs/7-c", lease_id=1, success=pb.Success())]
            )
        ),
    ),
]


@pytest.mark.parametrize(("what", "message"), MALFORMED)
async def test_a_message_out_of_its_bounds_ends_the_session(
    scheduler: Scheduler, what: str, message: pb.SessionRequest
) -> None:
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach()
        await worker.call.write(message)

        assert await worker.ended() == grpc.StatusCode.INVALID_ARGUMENT, what


async def test_the_first_message_must_be_attach(scheduler: Scheduler) -> None:
    async with raw_worker(scheduler.worker) as worker:
        await worker.send(credit=pb.Credit(slots=1))

        assert await worker.ended() == grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("attach", "status"),
    [
        (pb.Attach(protocol=2), grpc.StatusCode.FAILED_PRECONDITION),
        (pb.Attach(protocol=1, worker="a b"), grpc.StatusCode.INVALID_ARGUMENT),
        (
            pb.Attach(protocol=1, worker="w", slots=1, queues=[pb.QueueSubscription(queue="nope")]),
            grpc.StatusCode.NOT_FOUND,
        ),
    ],
)
async def test_an_attach_that_cannot_be_served_is_refused(
    scheduler: Scheduler, attach: pb.Attach, status: grpc.StatusCode
) -> None:
    async with raw_worker(scheduler.worker) as worker:
        await worker.send(attach=attach)

        assert await worker.ended() == status


async def test_one_session_that_breaks_leaves_the_others_alone(scheduler: Scheduler) -> None:
    async with raw_worker(scheduler.worker) as good, raw_worker(scheduler.worker) as bad:
        await good.attach(worker="good", credit=1)
        await bad.attach(worker="bad")
        await bad.call.write(pb.SessionRequest())
        await bad.ended()

        name = await scheduler.submit()
        await good.finish(*await good.jobs(1))

    assert (await scheduler.get(name)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_silent_worker_loses_its_session(start: Start) -> None:
    async with start(delivery_s=0.1, lease_s=0.1) as scheduler, raw_worker(scheduler.worker) as worker:
        await worker.attach()

        assert await worker.ended() == grpc.StatusCode.UNAVAILABLE


async def test_work_is_spread_over_sessions_and_waits_for_none(scheduler: Scheduler) -> None:
    async with raw_worker(scheduler.worker) as one, raw_worker(scheduler.worker) as two:
        await one.attach(worker="one", credit=5)
        await two.attach(worker="two", credit=5)
        for _ in range(10):
            await scheduler.submit()

        assert len(await one.jobs(5)) == 5
        assert len(await two.jobs(5)) == 5


async def test_a_replica_without_room_hands_the_work_to_one_that_has(start: Start) -> None:
    async with start(replica="a") as first, start(replica="b") as second:
        async with raw_worker(first.worker) as leaving:
            await leaving.attach(worker="leaving", credit=1)
            await leaving.beat()
            await leaving.leave()
        async with raw_worker(second.worker) as worker:
            await worker.attach(credit=4)
            for _ in range(4):
                await first.submit()

            assert len(await worker.jobs(4)) == 4


async def test_a_result_that_is_too_large_is_a_permanent_failure(start: Start) -> None:
    async with start(max_payload_bytes=1000) as scheduler:
        name = await scheduler.submit()
        async with raw_worker(scheduler.worker) as worker:
            await worker.attach(credit=1)
            large = pb.Success(result=job_pb2.Payload(data=b"x" * 1001))
            await worker.finish(*await worker.jobs(1), outcome=lambda: {"success": large})

        job = await scheduler.get(name)
    assert job.state == job_pb2.JOB_STATE_DEAD
    assert "1001 bytes; at most 1000" in job.failure.message
