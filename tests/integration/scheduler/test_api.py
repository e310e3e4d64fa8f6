"""What callers ask of the scheduler."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc.aio import AioRpcError
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks_core.errors import Reason, ServiceError
from headworks_core.grpc_errors import from_call
from headworks_core.names import uuid7
from headworks_devkit.backends.valkey import valkey

from tests.integration.scheduler.conftest import Scheduler, Start
from tests.support.raw_worker import failed, raw_worker
from tests.support.wait import wait_until


async def refusal(call: Any) -> ServiceError:
    """The typed error that a call ends with."""
    with pytest.raises(AioRpcError) as caught:
        await call
    return from_call(caught.value)


async def test_a_submitted_job_is_ready_and_can_be_read_by_its_name(scheduler: Scheduler) -> None:
    name = await scheduler.submit("mail.send", payload=job_pb2.Payload(data=b'{"to": 1}'), level=2, lane="a")

    job = await scheduler.get(name)

    assert name.startswith("tenants/default/queues/default/jobs/0-")
    assert job.state == job_pb2.JOB_STATE_READY
    assert (job.spec.task, job.spec.level, job.spec.lane, job.spec.payload.data) == ("mail.send", 2, "a", b'{"to": 1}')
    assert job.create_time.seconds > 1_700_000_000
    assert job.generation == 1


async def test_the_same_request_id_and_spec_answer_with_the_first_job(scheduler: Scheduler) -> None:
    job = pb.JobSubmission(spec=job_pb2.JobSpec(task="t"), request_id=uuid7())

    first = await scheduler.stub.SubmitJob(pb.SubmitJobRequest(job=job))
    second = await scheduler.stub.SubmitJob(pb.SubmitJobRequest(job=job))

    assert not first.existing
    assert second.existing
    assert first.name == second.name
    assert first.name.endswith(job.request_id)


async def test_the_same_request_id_with_another_spec_already_exists(scheduler: Scheduler) -> None:
    request_id = uuid7()
    first = pb.JobSubmission(spec=job_pb2.JobSpec(task="t"), request_id=request_id)
    await scheduler.stub.SubmitJob(pb.SubmitJobRequest(job=first))

    other = pb.JobSubmission(spec=job_pb2.JobSpec(task="u"), request_id=request_id)
    error = await refusal(scheduler.stub.SubmitJob(pb.SubmitJobRequest(job=other)))

    assert error.reason is Reason.JOB_ALREADY_EXISTS
    assert request_id in error.message


async def test_a_batch_answers_for_each_job_by_itself(scheduler: Scheduler) -> None:
    good = pb.JobSubmission(spec=job_pb2.JobSpec(task="t"))
    bad = pb.JobSubmission(spec=job_pb2.JobSpec(task="no spaces please", level=12))

    response = await scheduler.stub.SubmitJobs(pb.SubmitJobsRequest(jobs=[good, bad, good]))

    first, second, third = response.results
    assert first.name
    assert third.name
    assert first.name != third.name
    assert second.error.reason == "INVALID_FIELD"
    assert [violation.field for violation in second.error.field_violations] == ["spec.task", "spec.level"]


@pytest.mark.parametrize("size", [0, 501])
async def test_a_batch_has_1_to_500_jobs(scheduler: Scheduler, size: int) -> None:
    jobs = [pb.JobSubmission(spec=job_pb2.JobSpec(task="t"))] * size

    error = await refusal(scheduler.stub.SubmitJobs(pb.SubmitJobsRequest(jobs=jobs)))

    assert error.reason is Reason.BATCH_SIZE
    assert f"{size} items; 1 to 500" in error.message


BAD_SPECS: list[tuple[str, dict[str, Any]]] = [
    ("job.spec.task", {"task": ""}),
    ("job.spec.task", {"task": "x" * 201}),
    ("job.spec.lane", {"lane": "a b"}),
    ("job.spec.level", {"level": -1}),
    ("job.spec.level", {"level": 10}),
    ("job.spec.payload.data", {"payload": job_pb2.Payload(data=b"x" * 262_145)}),
    ("job.spec.payload.content_type", {"payload": job_pb2.Payload(content_type="x" * 101)}),
    ("job.spec.delay", {"delay": Duration(seconds=-1)}),
    ("job.spec.delay", {"delay": Duration(seconds=367 * 86_400)}),
    ("job.spec.expire_after", {"expire_after": Duration()}),
    ("job.spec.attempt_timeout", {"attempt_timeout": Duration(nanos=1)}),
    ("job.spec.retry.max_attempts", {"retry": job_pb2.RetryPolicy(max_attempts=101)}),
    ("job.spec.retry.initial_backoff", {"retry": job_pb2.RetryPolicy(initial_backoff=Duration())}),
    (
        "job.spec.retry.max_backoff",
        {"retry": job_pb2.RetryPolicy(initial_backoff=Duration(seconds=9), max_backoff=Duration(seconds=8))},
    ),
    ("job.spec.retry.multiplier", {"retry": job_pb2.RetryPolicy(multiplier=float("nan"))}),
    ("job.spec.retry.jitter", {"retry": job_pb2.RetryPolicy(jitter=1.1)}),
    ("job.spec.retry.non_retryable", {"retry": job_pb2.RetryPolicy(non_retryable=["x"] * 21)}),
]


@pytest.mark.parametrize(("field", "spec"), BAD_SPECS)
async def test_a_field_out_of_its_bounds_is_named(scheduler: Scheduler, field: str, spec: dict[str, Any]) -> None:
    job = pb.JobSubmission(spec=job_pb2.JobSpec(**{"task": "t", **spec}))

    error = await refusal(scheduler.stub.SubmitJob(pb.SubmitJobRequest(job=job)))

    assert error.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in error.violations] == [field]


async def test_an_unknown_queue_is_not_found_and_the_known_ones_are_listed(scheduler: Scheduler) -> None:
    job = pb.JobSubmission(spec=job_pb2.JobSpec(task="t"))

    error = await refusal(scheduler.stub.SubmitJob(pb.SubmitJobRequest(queue="nope", job=job)))

    assert error.reason is Reason.QUEUE_NOT_FOUND
    assert "default, other, small" in error.message


async def test_a_full_queue_refuses_and_says_when_to_come_back(scheduler: Scheduler) -> None:
    for tenant in ("a", "a", "b"):
        await scheduler.submit(queue="small", tenant=tenant)

    full = await refusal(scheduler.submit(queue="small", tenant="c"))

    assert full.reason is Reason.QUEUE_FULL
    assert full.retry_after_us == 1_000_000


async def test_a_tenant_cannot_fill_the_whole_queue(scheduler: Scheduler) -> None:
    for _ in range(2):
        await scheduler.submit(queue="small", tenant="a")

    assert (await refusal(scheduler.submit(queue="small", tenant="a"))).reason is Reason.TENANT_QUEUE_FULL
    await scheduler.submit(queue="small", tenant="b")


async def test_another_tenants_job_is_not_found(scheduler: Scheduler) -> None:
    name = await scheduler.submit(tenant="acme")

    for call in (
        scheduler.stub.GetJob(pb.GetJobRequest(name=name)),
        scheduler.stub.CancelJob(pb.CancelJobRequest(name=name)),
        scheduler.stub.WatchJobs(pb.WatchJobsRequest(names=[name])).read(),
    ):
        assert (await refusal(call)).reason is Reason.JOB_NOT_FOUND
    assert (await scheduler.get(name, tenant="acme")).state == job_pb2.JOB_STATE_READY


async def test_a_bad_tenant_is_refused(scheduler: Scheduler) -> None:
    error = await refusal(scheduler.submit(tenant="No/Slash"))

    assert error.violations[0].field == "headworks-tenant"


@pytest.mark.parametrize(
    "name", ["", "x", "tenants/default/queues/default/jobs/0-1", "tenants/a/queues/b/jobs/" + "9" * 50]
)
async def test_a_malformed_name_is_an_invalid_argument(scheduler: Scheduler, name: str) -> None:
    assert (await refusal(scheduler.get(name))).reason is Reason.INVALID_FIELD


async def test_a_waiting_job_is_cancelled_at_once_and_again_without_effect(scheduler: Scheduler) -> None:
    name = await scheduler.submit()

    for _ in range(2):
        response = await scheduler.stub.CancelJob(pb.CancelJobRequest(name=name))
        assert response.job.state == job_pb2.JOB_STATE_CANCELLED

    assert (await scheduler.get(name)).HasField("finish_time")


async def test_a_finished_job_cannot_be_cancelled(scheduler: Scheduler) -> None:
    name = await scheduler.submit()
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        await worker.finish(*await worker.jobs(1))

    error = await refusal(scheduler.stub.CancelJob(pb.CancelJobRequest(name=name)))

    assert error.reason is Reason.JOB_FINISHED


async def test_a_watch_shows_every_state_and_ends_with_the_job(scheduler: Scheduler) -> None:
    name = await scheduler.submit()
    call: Any = scheduler.stub.WatchJobs(pb.WatchJobsRequest(names=[name]), timeout=10)
    states = [(await call.read()).jobs[0].state]
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        jobs = await worker.jobs(1)
        states.append((await call.read()).jobs[0].state)
        await worker.beat(*jobs, progress=job_pb2.Progress(done=3, total=4, message="nearly"))
        progress = (await call.read()).jobs[0].progress
        await worker.finish(*jobs)
        states.append((await call.read()).jobs[0].state)

    assert states == [job_pb2.JOB_STATE_READY, job_pb2.JOB_STATE_LEASED, job_pb2.JOB_STATE_SUCCEEDED]
    assert (progress.done, progress.total, progress.message) == (3, 4, "nearly")
    assert await call.read() is grpc.aio.EOF


async def test_a_watch_through_another_replica_hears_of_the_end(start: Start) -> None:
    async with start(replica="a") as first, start(replica="b") as second:
        name = await first.submit()
        watching = asyncio.create_task(second.until(name, job_pb2.JOB_STATE_SUCCEEDED))
        async with raw_worker(first.worker) as worker:
            await worker.attach(credit=1)
            await worker.finish(*await worker.jobs(1))

        assert (await watching).result.data == b"null"


async def test_a_terminal_only_watch_of_many_gives_each_job_once(scheduler: Scheduler) -> None:
    names = [await scheduler.submit() for _ in range(20)]
    call = scheduler.stub.WatchJobs(pb.WatchJobsRequest(names=names, terminal_only=True), timeout=10)
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=10)
        for _ in range(2):
            await worker.finish(*await worker.jobs(10), credit=10)

    seen = [job.name async for response in call for job in response.jobs]

    assert sorted(seen) == sorted(names)


async def test_a_delayed_job_becomes_ready_when_its_time_has_come(scheduler: Scheduler) -> None:
    delay = Duration()
    delay.FromMilliseconds(150)
    name = await scheduler.submit(delay=delay)
    waiting = await scheduler.get(name)
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        (job,) = await worker.jobs(1)
        started = (await scheduler.get(job.job)).start_time

    assert waiting.state == job_pb2.JOB_STATE_SCHEDULED
    assert waiting.schedule_time.ToMicroseconds() == waiting.create_time.ToMicroseconds() + 150_000
    late_us = started.ToMicroseconds() - waiting.schedule_time.ToMicroseconds()
    assert 0 <= late_us < 1_000_000


async def test_a_job_that_nobody_starts_in_time_is_a_dead_letter(scheduler: Scheduler) -> None:
    expiry = Duration()
    expiry.FromMilliseconds(50)
    name = await scheduler.submit(expire_after=expiry)

    job = await scheduler.until(name, job_pb2.JOB_STATE_DEAD)

    assert job.failure.category == job_pb2.FAILURE_CATEGORY_EXPIRED


async def test_a_failure_is_tried_again_and_then_a_dead_letter(scheduler: Scheduler) -> None:
    name = await scheduler.submit()
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        attempts = []
        for _ in range(2):
            (job,) = await worker.jobs(1)
            attempts.append(job.attempt)
            await worker.finish(job, credit=1, outcome=failed)

    dead = await scheduler.until(name, job_pb2.JOB_STATE_DEAD)
    assert attempts == [1, 2]
    assert (dead.attempts, dead.failures) == (2, 2)
    assert (dead.failure.error_class, dead.failure.trace) == ("ValueError", "Traceback")
    assert dead.failure.category == job_pb2.FAILURE_CATEGORY_TRANSIENT


async def test_a_permanent_failure_is_not_tried_again(scheduler: Scheduler) -> None:
    name = await scheduler.submit()
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        await worker.finish(*await worker.jobs(1), outcome=lambda: failed(job_pb2.FAILURE_CATEGORY_PERMANENT))

    dead = await scheduler.get(name)
    assert dead.state == job_pb2.JOB_STATE_DEAD
    assert dead.attempts == 1


async def test_readiness_follows_the_store_and_liveness_does_not(start: Start) -> None:
    async with valkey() as server, start(redis_url=server.url) as scheduler:
        health = scheduler.health
        assert await health("readiness") == await health("liveness") == "SERVING"
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await wait_until(lambda: is_now(health, "readiness", "NOT_SERVING"), 20)
            alive = await health("liveness")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await wait_until(lambda: is_now(health, "readiness", "SERVING"), 20)

    assert alive == "SERVING"


async def is_now(health: Any, name: str, status: str) -> bool:
    """Whether the service of this name has this status."""
    return bool(await health(name) == status)
