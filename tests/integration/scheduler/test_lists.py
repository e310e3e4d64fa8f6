"""Lists of jobs, page by page."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks_core.errors import Reason
from redis.asyncio import Redis

from tests.integration.scheduler.conftest import Scheduler
from tests.integration.scheduler.test_api import refusal
from tests.support.raw_worker import failed, raw_worker

DEAD, LEASED, READY = job_pb2.JOB_STATE_DEAD, job_pb2.JOB_STATE_LEASED, job_pb2.JOB_STATE_READY
SUCCEEDED, SCHEDULED = job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_SCHEDULED
PERMANENT = job_pb2.FAILURE_CATEGORY_PERMANENT


async def page(scheduler: Scheduler, *, tenant: str = "default", **fields: Any) -> pb.ListJobsResponse:
    """One page."""
    return await scheduler.stub.ListJobs(pb.ListJobsRequest(**fields), metadata=[("headworks-tenant", tenant)])


async def pages(scheduler: Scheduler, *, tenant: str = "default", **fields: Any) -> list[list[job_pb2.Job]]:
    """All pages."""
    found, token = [], ""
    while True:
        response = await page(scheduler, tenant=tenant, page_token=token, **fields)
        found.append(list(response.jobs))
        token = response.next_page_token
        if not token:
            return found


async def names(scheduler: Scheduler, *, tenant: str = "default", **fields: Any) -> list[str]:
    """The names on all pages."""
    return [job.name for jobs in await pages(scheduler, tenant=tenant, **fields) for job in jobs]


async def end(scheduler: Scheduler, *outcomes: job_pb2.FailureCategory | None) -> list[str]:
    """Submit and run so many jobs, one after the other: None succeeds, a category fails for good."""
    ended = []
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach()
        for category in outcomes:
            ended.append(await scheduler.submit(retry=job_pb2.RetryPolicy(max_attempts=1)))
            await worker.send(credit={"slots": 1})
            outcome = None if category is None else partial(failed, category, f"Error{category}")
            await worker.finish(*await worker.jobs(1), outcome=outcome)
    return ended


async def test_the_newest_jobs_come_first_and_every_one_once(scheduler: Scheduler) -> None:
    made = [await scheduler.submit(tenant="a") for _ in range(5)]
    batch = [pb.JobSubmission(spec=job_pb2.JobSpec(task="t"))] * 40
    response = await scheduler.stub.SubmitJobs(pb.SubmitJobsRequest(jobs=batch), metadata=[("headworks-tenant", "a")])
    await scheduler.submit(tenant="b")
    await scheduler.submit(tenant="a", queue="other")
    made += [result.name for result in response.results]

    found = await pages(scheduler, tenant="a", page_size=7)

    assert [len(jobs) for jobs in found] == [7, 7, 7, 7, 7, 7, 3]
    listed = [job.name for jobs in found for job in jobs]
    assert sorted(listed) == sorted(made)
    assert listed[-5:] == made[4::-1]


async def test_a_page_that_ends_with_the_last_job_is_the_last(scheduler: Scheduler) -> None:
    for _ in range(4):
        await scheduler.submit()

    assert [len(jobs) for jobs in await pages(scheduler, page_size=2)] == [2, 2]
    assert (await page(scheduler, queue="other")) == pb.ListJobsResponse()


async def test_jobs_are_listed_by_state(scheduler: Scheduler) -> None:
    dead = await end(scheduler, PERMANENT, PERMANENT)
    succeeded = await end(scheduler, None)
    delay = job_pb2.JobSpec(task="t")
    delay.delay.FromSeconds(100)
    scheduled = [await scheduler.submit(delay=delay.delay)]
    cancelled = [await scheduler.submit()]
    await scheduler.stub.CancelJob(pb.CancelJobRequest(name=cancelled[0]))
    async with raw_worker(scheduler.worker) as worker:
        leased = [await scheduler.submit() for _ in range(3)]
        await worker.attach(credit=3)
        await worker.jobs(3)
        ready = [await scheduler.submit()]

        found = {
            state: await names(scheduler, filter={"state": state}, page_size=2)
            for state in job_pb2.JobState.values()[1:]
        }

    assert found == {
        SCHEDULED: scheduled,
        READY: ready,
        LEASED: leased[::-1],
        SUCCEEDED: succeeded,
        DEAD: dead[::-1],
        job_pb2.JOB_STATE_CANCELLED: cancelled,
    }


async def test_the_dead_come_in_the_order_of_their_end(scheduler: Scheduler) -> None:
    first = await scheduler.submit()
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)
        (held,) = await worker.jobs(1)
        (second,) = await end_with(scheduler)
        await worker.finish(held, outcome=partial(failed, PERMANENT))

    assert await names(scheduler, filter={"state": DEAD}) == [first, second]


async def end_with(scheduler: Scheduler) -> list[str]:
    """A job that another worker fails."""
    return await end(scheduler, PERMANENT)


async def test_every_part_of_a_filter_must_fit(scheduler: Scheduler) -> None:
    await end(scheduler, PERMANENT, job_pb2.FAILURE_CATEGORY_TIMEOUT, None)
    plain = await scheduler.submit("a.b")
    laned = await scheduler.submit("a.b", lane="x")

    assert await names(scheduler, filter={"task": "a.b"}) == [laned, plain]
    assert await names(scheduler, filter={"lane": "x"}) == [laned]
    assert await names(scheduler, filter={"task": "a.b", "lane": ""}) == [plain]
    assert await names(scheduler, filter={"task": "t", "lane": "x"}) == []
    (dead,) = (await page(scheduler, filter={"category": PERMANENT})).jobs
    assert dead.failure.category == PERMANENT
    assert await names(scheduler, filter={"error_class": f"Error{PERMANENT}", "state": DEAD}) == [dead.name]
    assert await names(scheduler, filter={"error_class": "Error", "state": DEAD}) == []
    assert await names(scheduler, filter={"category": PERMANENT, "error_class": "Error3"}) == []


async def test_the_basic_view_has_all_but_payload_result_and_trace(scheduler: Scheduler) -> None:
    await end(scheduler, PERMANENT)
    payload = job_pb2.Payload(data=b'{"a": "' + b"x" * 300 + b'"}', content_type="application/json")
    await scheduler.submit("p.q", payload=payload, lane="l", level=3, retry=job_pb2.RetryPolicy(non_retryable=["E"]))

    basic = (await page(scheduler)).jobs
    full = (await page(scheduler, view=pb.JOB_VIEW_FULL)).jobs

    assert full[0].spec.payload == payload
    assert full[1].failure.trace == "Traceback"
    for job in full:
        assert job == await scheduler.get(job.name)
        job.spec.ClearField("payload")
        job.ClearField("result")
        job.failure.ClearField("trace") if job.HasField("failure") else None
    assert list(basic) == list(full)


async def test_a_full_page_fits_into_a_message(scheduler: Scheduler) -> None:
    made = [await scheduler.submit(payload=job_pb2.Payload(data=b"x" * 262_144)) for _ in range(20)]

    found = await pages(scheduler, view=pb.JOB_VIEW_FULL, page_size=50)

    assert max(sum(job.ByteSize() for job in jobs) for jobs in found) < 4 << 20
    assert [job.name for jobs in found for job in jobs] == made[::-1]
    assert len(await pages(scheduler, page_size=50)) == 1


async def test_pages_go_on_where_they_were_when_jobs_come_and_go(scheduler: Scheduler, redis: Redis) -> None:
    made = [await scheduler.submit() for _ in range(6)]
    first = await page(scheduler, page_size=2)
    await scheduler.submit()
    tail = first.jobs[-1].name.rpartition("/")[2].partition("-")[2]
    await redis.zrem("{hw:0}:q:default:jobs:default", tail)  # as if it had been forgotten
    rest = await page(scheduler, page_token=first.next_page_token)

    assert [job.name for job in [*first.jobs, *rest.jobs]] == made[::-1]
    assert rest.next_page_token == ""


BAD: list[tuple[str, dict[str, Any]]] = [
    ("filter.state", {"filter": {"state": 99}}),
    ("filter.task", {"filter": {"task": "a b"}}),
    ("filter.lane", {"filter": {"lane": "a b"}}),
    ("filter.category", {"filter": {"category": 99}}),
    ("filter.error_class", {"filter": {"error_class": "x" * 201}}),
    ("view", {"view": 7}),
    ("page_size", {"page_size": 501}),
    ("page_size", {"page_size": -1}),
    ("page_size", {"page_size": 51, "view": 2}),
    ("page_token", {"page_token": "?"}),
    ("page_token", {"page_token": "AAAA"}),
    ("page_token", {"page_token": "é" * 100}),
]


@pytest.mark.parametrize(("field", "request_fields"), BAD)
async def test_what_is_wrong_with_a_request_is_named(
    scheduler: Scheduler, field: str, request_fields: dict[str, Any]
) -> None:
    error = await refusal(page(scheduler, **request_fields))

    assert error.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in error.violations] == [field]


async def test_a_token_is_good_for_its_own_list_only(scheduler: Scheduler) -> None:
    for tenant in ("a", "a", "b", "b"):
        await scheduler.submit(tenant=tenant)
    token = (await page(scheduler, tenant="a", page_size=1)).next_page_token

    assert len((await page(scheduler, tenant="a", page_token=token, page_size=9)).jobs) == 1
    changed = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
    for tenant, fields in (
        ("b", {"page_token": token}),
        ("a", {"page_token": token, "queue": "other"}),
        ("a", {"page_token": token, "filter": {"task": "t"}}),
        ("a", {"page_token": token, "filter": {"lane": ""}}),
        ("a", {"page_token": changed}),
    ):
        error = await refusal(page(scheduler, tenant=tenant, **fields))
        assert [violation.field for violation in error.violations] == ["page_token"]


async def test_a_list_of_an_unknown_queue_is_not_found(scheduler: Scheduler) -> None:
    assert (await refusal(page(scheduler, queue="nope"))).reason is Reason.QUEUE_NOT_FOUND
