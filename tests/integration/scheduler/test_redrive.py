"""Sending jobs back, through the API."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks_core.cells import Meta
from headworks_core.errors import Reason
from headworks_core.names import parse_job
from headworks_scheduler.domain.jobs import FailedAttempt, Queue
from headworks_scheduler.store.jobs import JobStore, StoreOptions
from redis.asyncio import Redis

from tests.integration.scheduler.conftest import Scheduler
from tests.integration.scheduler.test_api import refusal
from tests.integration.scheduler.test_lists import end
from tests.support.raw_worker import failed, raw_worker

PERMANENT = job_pb2.FAILURE_CATEGORY_PERMANENT
TIMEOUT = job_pb2.FAILURE_CATEGORY_TIMEOUT


async def redrive(scheduler: Scheduler, name: str, tenant: str = "default") -> job_pb2.Job:
    """Send one job back."""
    request = pb.RedriveJobRequest(name=name)
    return (await scheduler.stub.RedriveJob(request, metadata=[("headworks-tenant", tenant)])).job


async def redrive_many(scheduler: Scheduler, **fields: Any) -> pb.RedriveJobsResponse:
    """Send dead letters back."""
    tenant = fields.pop("tenant", "default")
    return await scheduler.stub.RedriveJobs(pb.RedriveJobsRequest(**fields), metadata=[("headworks-tenant", tenant)])


async def test_a_dead_job_is_ready_again_and_runs(scheduler: Scheduler) -> None:
    (name,) = await end(scheduler, PERMANENT)

    job = await redrive(scheduler, name)

    assert (job.state, job.generation, job.failures, job.attempts) == (job_pb2.JOB_STATE_READY, 2, 0, 1)
    assert job.failure.error_class == f"Error{PERMANENT}"
    assert not job.HasField("finish_time")
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        await worker.finish(*await worker.jobs(1))
    assert (await scheduler.until(name, job_pb2.JOB_STATE_SUCCEEDED)).generation == 2


async def test_a_cancelled_job_is_redriven(scheduler: Scheduler) -> None:
    name = await scheduler.submit()
    await scheduler.stub.CancelJob(pb.CancelJobRequest(name=name))

    assert (await redrive(scheduler, name)).state == job_pb2.JOB_STATE_READY


async def test_a_job_in_another_state_is_not_redrivable(scheduler: Scheduler) -> None:
    (done,) = await end(scheduler, None)
    ready = await scheduler.submit()

    for name in (done, ready):
        assert (await refusal(redrive(scheduler, name))).reason is Reason.JOB_NOT_REDRIVABLE


async def test_there_must_be_such_a_job(scheduler: Scheduler) -> None:
    (name,) = await end(scheduler, PERMANENT)
    other = name[:-1] + ("0" if name[-1] != "0" else "1")

    assert (await refusal(redrive(scheduler, other))).reason is Reason.JOB_NOT_FOUND
    assert (await refusal(redrive(scheduler, name, "b"))).reason is Reason.JOB_NOT_FOUND
    assert (await refusal(redrive(scheduler, "x"))).reason is Reason.INVALID_FIELD
    assert (await scheduler.get(name)).state == job_pb2.JOB_STATE_DEAD


async def test_many_go_back_in_pages_the_oldest_first(scheduler: Scheduler) -> None:
    dead = await end(scheduler, PERMANENT, TIMEOUT, PERMANENT, None, PERMANENT)

    first = await redrive_many(scheduler, limit=2, filter={"category": PERMANENT})
    second = await redrive_many(scheduler, limit=2, filter={"category": PERMANENT}, page_token=first.next_page_token)

    assert list(first.names) == [dead[0], dead[2]]
    assert list(second.names) == [dead[4]]
    assert second.next_page_token == ""
    assert (await scheduler.get(dead[1])).state == job_pb2.JOB_STATE_DEAD


async def test_those_that_die_again_are_not_met_by_later_pages(scheduler: Scheduler) -> None:
    dead = await end(scheduler, PERMANENT, PERMANENT)

    first = await redrive_many(scheduler, limit=1)
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        await worker.finish(*await worker.jobs(1), outcome=partial(failed, PERMANENT))
    second = await redrive_many(scheduler, page_token=first.next_page_token)

    assert [*first.names, *second.names] == dead
    assert (await scheduler.get(dead[0])).state == job_pb2.JOB_STATE_DEAD
    assert list((await redrive_many(scheduler)).names) == [dead[0]]


async def test_a_call_looks_at_a_bounded_number_and_a_later_one_goes_on(scheduler: Scheduler, redis: Redis) -> None:
    store = JobStore(redis, Meta(events="none"), StoreOptions("x"))
    batch = [pb.JobSubmission(spec=job_pb2.JobSpec(task="t"))] * 350
    dead = []
    for _ in range(3):
        response = await scheduler.stub.SubmitJobs(pb.SubmitJobsRequest(jobs=batch))
        dead += [result.name for result in response.results]
        leases = [(parse_job(job.name).ref, job.lease_id) for job in await store.claim(Queue(), [("w", 500)])]
        await store.fail(0, [FailedAttempt(*lease, b"", b"", retryable=False) for lease in leases])

    none = await redrive_many(scheduler, filter={"task": "u"})
    last = await redrive_many(scheduler, filter={"task": "u"}, page_token=none.next_page_token)
    some = await redrive_many(scheduler, limit=330)
    rest = await redrive_many(scheduler, page_token=some.next_page_token)

    assert not none.names
    assert none.next_page_token
    assert last == pb.RedriveJobsResponse()
    assert (len(some.names), len(rest.names)) == (330, 500)
    assert len({*some.names, *rest.names}) == 830
    assert {*some.names} < {*dead[:350]}
    assert rest.next_page_token


async def test_only_ones_own_dead_letters_go_back(scheduler: Scheduler) -> None:
    await end(scheduler, PERMANENT)

    assert await redrive_many(scheduler, tenant="b") == pb.RedriveJobsResponse()
    assert await redrive_many(scheduler, queue="other") == pb.RedriveJobsResponse()


async def test_a_full_queue_refuses_when_not_even_one_fits(scheduler: Scheduler) -> None:
    names = [await scheduler.submit(queue="small") for _ in range(2)]
    for name in names:
        await scheduler.stub.CancelJob(pb.CancelJobRequest(name=name))
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(queues=[("small", 1)])
        dead = [await scheduler.submit(queue="small") for _ in range(2)]
        await worker.send(credit={"slots": 2})
        await worker.finish(*await worker.jobs(2), outcome=partial(failed, PERMANENT))
    await redrive(scheduler, names[0])

    some = await redrive_many(scheduler, queue="small")
    assert list(some.names) == [dead[0]] or list(some.names) == [dead[1]]
    assert some.next_page_token
    refused = await refusal(redrive_many(scheduler, queue="small", page_token=some.next_page_token))
    assert refused.reason is Reason.TENANT_QUEUE_FULL
    assert (await refusal(redrive(scheduler, names[1]))).reason is Reason.TENANT_QUEUE_FULL


BAD: list[tuple[str, dict[str, Any]]] = [
    ("filter.state", {"filter": {"state": job_pb2.JOB_STATE_CANCELLED}}),
    ("filter.state", {"filter": {"state": 99}}),
    ("filter.task", {"filter": {"task": "a b"}}),
    ("limit", {"limit": 501}),
    ("limit", {"limit": -1}),
    ("page_token", {"page_token": "AAAA"}),
]


@pytest.mark.parametrize(("field", "request_fields"), BAD)
async def test_what_is_wrong_with_a_request_is_named(
    scheduler: Scheduler, field: str, request_fields: dict[str, Any]
) -> None:
    error = await refusal(redrive_many(scheduler, **request_fields))

    assert error.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in error.violations] == [field]


async def test_the_token_of_a_list_is_no_token_of_a_redrive(scheduler: Scheduler) -> None:
    await end(scheduler, PERMANENT, PERMANENT)
    dead = {"state": job_pb2.JOB_STATE_DEAD}
    listed = await scheduler.stub.ListJobs(pb.ListJobsRequest(page_size=1, filter=dead))

    error = await refusal(redrive_many(scheduler, filter=dead, page_token=listed.next_page_token))

    assert [violation.field for violation in error.violations] == ["page_token"]
