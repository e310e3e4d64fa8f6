"""The session protocol from the worker's side, against a scheduler that does what the test says."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import Any

import grpc
import pytest
from headworks.worker.v1 import session_pb2 as pb
from headworks_client import Task
from headworks_worker import Context, Worker, task

from tests.integration.worker.conftest import Attach
from tests.support.fake_scheduler import FakeScheduler, fake_scheduler, refs
from tests.support.wait import wait_until


@task
async def echo(value: int = 0) -> int:
    """Answers at once."""
    return value


def blocking() -> tuple[Task[..., Any], asyncio.Event, list[str]]:
    """A task that waits for the event, and how its runs ended."""
    go = asyncio.Event()
    ends: list[str] = []

    @task(name="blocking")
    async def wait() -> str:
        try:
            await go.wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        ends.append("done")
        return "done"

    return wait, go, ends


async def test_a_worker_says_who_it_is_and_announces_its_slots(attach: Attach) -> None:
    async with attach(echo, slots=7, name="w-1", queues={"a": 3, "b": 1}, strict_order=True) as session:
        assert session.attach.protocol == 1
        assert session.attach.worker == "w-1"
        assert [(entry.queue, entry.weight) for entry in session.attach.queues] == [("a", 3), ("b", 1)]
        assert session.attach.order == pb.QUEUE_ORDER_STRICT
        assert list(session.attach.tasks) == [echo.name]
        assert session.attach.slots == 7
        assert list(session.attach.held) == []
        await session.credited(7)


async def test_a_result_comes_back_and_its_slot_is_announced_with_it(attach: Attach) -> None:
    async with attach(echo, slots=3) as session:
        (job,) = await session.assign(echo.name, b'{"value": 5}')

        results = await session.results()

        assert results.results[0].job == job.job
        assert results.results[0].lease_id == job.lease_id
        assert results.results[0].success.result.data == b"5"
        await session.ack(results)
        await session.credited(3)


async def test_jobs_that_end_together_are_reported_together(attach: Attach) -> None:
    async with attach(echo, slots=400) as session:
        await session.assign(echo.name, count=400)

        batches = 0
        ended = 0
        while ended < 400:
            results = await session.results()
            await session.ack(results)
            batches += 1
            ended += len(results.results)

        assert batches <= 40
        await session.credited(400)


async def test_a_result_whose_acknowledgement_was_lost_is_sent_again(scheduler: FakeScheduler, attach: Attach) -> None:
    async with attach(echo) as first:
        (job,) = await first.assign(echo.name, b'{"value": 1}')
        sent = await first.results()
        first.cut()

        second = await scheduler.session()
        again = await second.results()

        assert [(held.job, held.lease_id) for held in second.attach.held] == [(job.job, job.lease_id)]
        assert again.results == sent.results
        assert again.batch > sent.batch
        await second.ack(again)
        await second.credited(4)

        second.cut()
        third = await scheduler.session()
        await third.credited(4)
        assert list(third.attach.held) == []


async def test_a_result_that_was_recorded_before_the_cut_is_not_sent_again(
    scheduler: FakeScheduler, attach: Attach
) -> None:
    async with attach(echo) as first:
        (job,) = await first.assign(echo.name)
        await first.results()
        scheduler.lost = [(job.job, job.lease_id)]
        first.cut()

        second = await scheduler.session()
        await second.credited(4)
        (other,) = await second.assign(echo.name)

        assert (await second.result()).job == other.job


async def test_a_cut_stream_disturbs_no_handler_and_its_lease_is_taken_along(
    scheduler: FakeScheduler, attach: Attach
) -> None:
    wait, go, ends = blocking()
    async with attach(wait) as first:
        (job,) = await first.assign(wait.name)
        await first.listed(job)
        first.cut()

        second = await scheduler.session()
        await second.credited(3)
        go.set()
        result = await second.result()

        assert [(held.job, held.lease_id) for held in second.attach.held] == [(job.job, job.lease_id)]
        assert result.success.result.data == b'"done"'
        assert ends == ["done"]
        await second.credited(4)


async def test_leases_that_the_next_scheduler_does_not_know_are_cancelled(
    scheduler: FakeScheduler, attach: Attach
) -> None:
    wait, _, ends = blocking()
    async with attach(wait) as first:
        (job,) = await first.assign(wait.name)
        await first.listed(job)
        scheduler.lost = [(job.job, job.lease_id)]
        first.cut()

        second = await scheduler.session()
        await second.credited(4)

        assert ends == ["cancelled"]


async def test_a_lost_lease_cancels_its_handler_and_sends_no_result(attach: Attach) -> None:
    wait, go, ends = blocking()
    async with attach(wait, echo) as session:
        jobs = await session.assign(wait.name, count=2)
        await session.listed(jobs[1])

        await session.take_leases(jobs[0])
        await wait_until(lambda: ends == ["cancelled"])
        await session.credited(3)
        go.set()

        assert (await session.result()).job == jobs[1].job
        await session.credited(4)


async def test_a_cancel_request_cancels_the_handler_and_gives_the_job_back(attach: Attach) -> None:
    wait, _, ends = blocking()
    async with attach(wait) as session:
        jobs = await session.assign(wait.name)
        await session.listed(jobs[0])

        await session.send(cancel=pb.Cancel(leases=refs(jobs)))
        result = await session.result()

        assert result.released.reason == "cancelled"
        assert not result.released.HasField("delay")
        assert ends == ["cancelled"]


async def test_a_cancel_request_that_overtakes_the_start_gives_the_job_back_unstarted(attach: Attach) -> None:
    started: list[str] = []

    @task(name="starts")
    async def starts() -> None:
        started.append("")

    async with attach(starts) as session:
        job = pb.Assignment(job="tenants/default/queues/default/jobs/0-x", lease_id=1, spec=b"\n\x06starts")
        await session.credited(4)
        async with asyncio.TaskGroup() as both:
            both.create_task(session.assign_these([job]))
            both.create_task(session.send(cancel=pb.Cancel(leases=refs([job]))))
            time.sleep(0.2)  # noqa: ASYNC251 - holds the loop, so that both have arrived before the job can start
        result = await session.result()

        assert result.WhichOneof("outcome") in ("released", "success")
        assert (result.WhichOneof("outcome") == "success") == bool(started)


async def test_a_draining_replica_is_left_for_another_with_all_that_is_held() -> None:
    wait, go, ends = blocking()
    async with fake_scheduler() as one, fake_scheduler() as two:
        both = f"ipv4:{one.address},{two.address}"
        async with Worker([wait, echo], scheduler=both, slots=4, shutdown_grace_s=0.1):
            reached = {asyncio.ensure_future(replica.session()): replica for replica in (one, two)}
            (attached,), (other,) = await asyncio.wait(reached, return_when=asyncio.FIRST_COMPLETED)
            first = attached.result()
            (job,) = await first.assign(wait.name)
            await first.listed(job)
            (quick,) = await first.assign(echo.name)
            results = await first.results()

            reached[attached].refuses = True
            await first.send(drain=pb.Drain())
            await first.ack(results)
            await first.wait_ended()
            second = await other
            await second.credited(3)
            go.set()

            assert quick.job == results.results[0].job
            assert [held.job for held in second.attach.held] == [job.job]
            assert (await second.result()).success.result.data == b'"done"'
            assert ends == ["done"]


async def test_a_scheduler_that_falls_silent_is_left(scheduler: FakeScheduler, attach: Attach) -> None:
    scheduler.ping_s = 0
    async with attach(echo) as first:
        began = time.monotonic()
        await first.wait_ended()
        await scheduler.session()

        assert 0.4 < time.monotonic() - began < 3


async def test_readiness_follows_the_session(scheduler: FakeScheduler) -> None:
    told: list[bool] = []
    async with Worker([echo], scheduler=scheduler.address, on_ready=told.append, shutdown_grace_s=0.1):
        first = await scheduler.session()
        await wait_until(lambda: told == [True])
        first.cut()
        await scheduler.session()
        await wait_until(lambda: told == [True, False, True])


async def test_a_worker_connects_again_until_it_is_taken(scheduler: FakeScheduler, attach: Attach) -> None:
    async with attach(echo) as session:
        for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
            session.cut(code)
            session = await scheduler.session()
        await session.assign(echo.name)
        await session.result()


async def test_credit_never_exceeds_the_slots_whatever_is_cut(scheduler: FakeScheduler, attach: Attach) -> None:
    @task(name="short")
    async def short() -> None:
        await asyncio.sleep(0.01)

    async with attach(short, slots=20) as session:
        for batch in range(20):
            await wait_until(lambda: session.credit > 0)  # noqa: B023 - asked before the session changes
            await session.assign(short.name, count=session.credit)
            results = await session.results()
            if batch % 2:
                await session.ack(results)
            if batch % 5 == 4:
                session.cut()
                session = await scheduler.session()
    # The fixture asserts that no session was ever announced more than the slots.


async def test_every_lease_is_listed_in_each_heartbeat_interval(scheduler: FakeScheduler, attach: Attach) -> None:
    wait, _, _ = blocking()
    async with attach(wait) as session:
        jobs = await session.assign(wait.name, count=4)
        keys = {(job.job, job.lease_id) for job in jobs}
        await wait_until(lambda: len(session.beats) >= 8)

        full = [at for at, listed in session.beats if keys <= set(listed)]
        gaps = [after - before for before, after in itertools.pairwise(full)]
        assert len(full) >= 7
        assert max(gaps) < scheduler.heartbeat_s


async def test_a_new_lease_is_confirmed_long_before_the_heartbeat_is_due() -> None:
    wait, _, _ = blocking()
    async with (
        fake_scheduler(heartbeat_s=60.0, lease_s=90.0) as scheduler,
        Worker([wait], scheduler=scheduler.address, shutdown_grace_s=0.1),
    ):
        session = await scheduler.session()
        (job,) = await session.assign(wait.name)
        began = time.monotonic()
        await session.listed(job)

        assert time.monotonic() - began < 1


async def test_a_result_that_the_scheduler_refused_is_forgotten(scheduler: FakeScheduler, attach: Attach) -> None:
    async with attach(echo) as session:
        await session.assign(echo.name)
        await session.ack(await session.results(), lost=[0])
        await session.credited(4)
        session.cut()

        assert list((await scheduler.session()).attach.held) == []


async def test_a_lease_is_at_risk_once_no_heartbeat_could_go_out_for_as_long_as_it_lasts() -> None:
    seen: list[bool] = []
    go = asyncio.Event()

    @task(name="watchful")
    async def watchful(ctx: Context) -> None:
        seen.append(ctx.lease_at_risk)
        await go.wait()
        seen.append(ctx.lease_at_risk)

    async with (
        fake_scheduler(heartbeat_s=0.1, lease_s=0.3) as scheduler,
        Worker([watchful], scheduler=scheduler.address, shutdown_grace_s=0.1),
    ):
        session = await scheduler.session()
        (job,) = await session.assign(watchful.name)
        await session.listed(job)
        scheduler.answers = False
        session.cut()
        silent = await scheduler.session()
        await asyncio.sleep(0.5)  # longer than the lease
        go.set()
        await wait_until(lambda: len(seen) == 2)
        scheduler.answers = True
        silent.cut()
        last = await scheduler.session()
        await last.result()

    assert seen == [False, True]


async def test_a_worker_leaves_no_thread_behind(scheduler: FakeScheduler, attach: Attach) -> None:
    @task(name="plain")
    def plain() -> None:
        pass

    before = set(threading.enumerate())
    async with attach(plain) as session:
        await session.assign(plain.name, count=3)
        await session.results()

    await wait_until(lambda: not [t for t in set(threading.enumerate()) - before if t.name.startswith("headworks")])


@pytest.mark.parametrize("spec", [b"\xff\xff\xff", b""])
async def test_a_job_that_cannot_be_read_is_not_tried_again(attach: Attach, spec: bytes) -> None:
    async with attach(echo) as session:
        job = pb.Assignment(job="tenants/default/queues/default/jobs/0-x", lease_id=9, attempt=1, spec=spec)
        await session.credited(4)
        await session.assign_these([job])
        result = await session.result()

        if spec:
            assert result.failed.failure.error_class == "DecodeError"
        else:
            assert result.released.reason == "unknown_task"
