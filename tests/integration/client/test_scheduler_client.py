"""The scheduler's client: submitting, and following many jobs over few streams."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc
import pytest
from headworks.scheduler.v1 import job_pb2
from headworks_client import Job, JobCancelled, JobFailed, JobState, SchedulerClient, Submission, task
from headworks_core import telemetry
from headworks_core.errors import FailedPrecondition, InvalidArgument, NotFound, ServiceError, Unavailable
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from tests.support.fake_api import QUEUE, FakeApi
from tests.support.wait import wait_until

READY, LEASED = job_pb2.JOB_STATE_READY, job_pb2.JOB_STATE_LEASED
SUCCEEDED, DEAD, CANCELLED = (
    job_pb2.JOB_STATE_SUCCEEDED,
    job_pb2.JOB_STATE_DEAD,
    job_pb2.JOB_STATE_CANCELLED,
)


def answer(data: bytes) -> job_pb2.Payload:
    """A JSON result."""
    return job_pb2.Payload(data=data, content_type="application/json")


async def test_a_task_is_submitted_through_the_open_client(api: FakeApi, scheduler: SchedulerClient) -> None:
    @task(name="t", queue="files", level=2)
    def function(n: int) -> None: ...

    job = await function.submit(n=1)

    (request,) = api.requests
    assert request.queue == "files"
    assert request.job.spec.payload.data == b'{"n":1}'
    assert request.job.spec.level == 2
    assert job.name == QUEUE + request.job.request_id
    assert api.metadata[0]["headworks-tenant"] == "t1"


async def test_a_submit_is_repeated_with_the_same_id(api: FakeApi, scheduler: SchedulerClient) -> None:
    api.failures.append(grpc.StatusCode.UNAVAILABLE)

    job = await scheduler.submit(Submission("t"))

    assert [QUEUE + request.job.request_id for request in api.requests] == [job.name, job.name]


async def test_many_jobs_go_in_order_in_calls_of_bounded_size(api: FakeApi, scheduler: SchedulerClient) -> None:
    outcomes = await scheduler.submit_many([Submission("bad" if n == 7 else f"t{n}") for n in range(1001)])

    assert [len(request.jobs) for request in api.requests] == [500, 500, 1]
    assert [job.spec.task for request in api.requests for job in request.jobs if job.spec.task != "bad"] == [
        f"t{n}" for n in range(1001) if n != 7
    ]
    assert isinstance(outcomes[7], InvalidArgument)
    assert all(isinstance(outcome, Job) for n, outcome in enumerate(outcomes) if n != 7)


async def test_large_jobs_go_in_smaller_calls(api: FakeApi, scheduler: SchedulerClient) -> None:
    await scheduler.submit_many([Submission("t", payload=bytes(3 << 20)) for _ in range(5)])

    assert sum(len(request.jobs) for request in api.requests) == 5
    assert max(request.ByteSize() for request in api.requests) < 9 << 20


async def test_a_call_that_fails_ends_the_submitting_of_many(api: FakeApi, scheduler: SchedulerClient) -> None:
    api.failures.append(NotFound("no such queue"))

    outcomes = await scheduler.submit_many([Submission("t")] * 700)

    assert len(api.requests) == 1
    assert len(outcomes) == 700
    assert all(isinstance(outcome, NotFound) for outcome in outcomes)


async def test_submitting_within_a_trace_has_a_producer_span_that_the_job_continues(
    api: FakeApi, scheduler: SchedulerClient, spans: InMemorySpanExporter
) -> None:
    with telemetry.span("caller"):
        await scheduler.submit(Submission("t"))
        await scheduler.submit_many([Submission("t"), Submission("u")])

    call, producer, many_call, many, caller = spans.get_finished_spans()
    assert [span.name for span in (producer, many)] == ["submit t", "submit"]
    assert producer.kind is many.kind is SpanKind.PRODUCER
    assert producer.parent == many.parent == caller.context
    assert call.parent == producer.context
    assert many_call.parent == many.context
    one, batch = api.requests
    assert f"{producer.context.span_id:016x}" in one.job.traceparent
    assert all(f"{many.context.span_id:016x}" in job.traceparent for job in batch.jobs)


async def test_results_that_are_awaited_together_share_a_stream(api: FakeApi, scheduler: SchedulerClient) -> None:
    names = [f"{QUEUE}{n}" for n in range(1200)]
    for name in names:
        await api.put(name, READY)
    waiting = asyncio.gather(*(scheduler.job(name).result(10) for name in names))
    await wait_until(lambda: api.open_watches == 3)
    for n, name in enumerate(names):
        await api.put(name, SUCCEEDED, result=answer(str(n).encode()))

    assert await waiting == list(range(1200))
    assert sorted(len(watch) for watch in api.watches) == [200, 500, 500]
    await wait_until(lambda: api.open_watches == 0)


async def test_one_job_may_be_awaited_by_many(api: FakeApi, scheduler: SchedulerClient) -> None:
    await api.put("a", READY)
    first = asyncio.create_task(scheduler.job("a").result(10))
    await wait_until(lambda: api.open_watches == 1)
    second = asyncio.create_task(scheduler.job("a").result(10))
    await asyncio.sleep(0)
    await api.put("a", SUCCEEDED, result=answer(b'{"x": 1}'))

    assert await first == await second == {"x": 1}
    assert len(api.watches) == 1


async def test_a_dead_job_raises_with_its_failure(api: FakeApi, scheduler: SchedulerClient) -> None:
    failure = job_pb2.Failure(error_class="E", message="no", category=job_pb2.FAILURE_CATEGORY_TIMEOUT)
    await api.put("a", DEAD, failure=failure)

    with pytest.raises(JobFailed, match=r"a is dead \(TIMEOUT\): E: no") as raised:
        await scheduler.job("a").result(10)

    assert (raised.value.category, raised.value.error_class) == ("TIMEOUT", "E")
    assert raised.value.snapshot.state is JobState.DEAD


async def test_a_cancelled_job_raises(api: FakeApi, scheduler: SchedulerClient) -> None:
    await api.put("a", CANCELLED)

    with pytest.raises(JobCancelled, match="a was cancelled"):
        await scheduler.job("a").result(10)


async def test_waiting_goes_on_over_lost_connections(api: FakeApi, scheduler: SchedulerClient) -> None:
    await api.put("a", READY)
    await api.put("b", READY)
    first, second = (asyncio.create_task(scheduler.job(name).result(10)) for name in "ab")
    await wait_until(lambda: api.open_watches == 1)
    await api.put("a", SUCCEEDED, result=answer(b"1"))
    assert await first == 1
    await api.cut_watches()
    await wait_until(lambda: len(api.watches) == 2 and api.open_watches == 1)
    await api.put("b", SUCCEEDED, result=answer(b"2"))

    assert await second == 2
    assert api.watches == [["a", "b"], ["b"]]


async def test_a_job_that_does_not_exist_fails_only_those_who_wait_for_it(
    api: FakeApi, scheduler: SchedulerClient
) -> None:
    names = [str(n) for n in range(20)]
    for name in names:
        if name != "13":
            await api.put(name, SUCCEEDED, result=answer(name.encode()))

    outcomes = await asyncio.gather(*(scheduler.job(name).result(10) for name in names), return_exceptions=True)

    assert [outcome for n, outcome in enumerate(outcomes) if n != 13] == [n for n in range(20) if n != 13]
    assert isinstance(outcomes[13], NotFound)
    assert "there is no job 13" in str(outcomes[13])
    assert len(api.watches) <= 1 + 2 * 5  # halves, not one by one


async def test_a_timeout_leaves_the_job_alone_and_ends_the_stream(api: FakeApi, scheduler: SchedulerClient) -> None:
    await api.put("a", READY)
    with pytest.raises(TimeoutError):
        await scheduler.job("a").result(0.05)

    await wait_until(lambda: api.open_watches == 0)
    await api.put("a", SUCCEEDED, result=answer(b"1"))
    assert await scheduler.job("a").result(10) == 1


async def test_a_stream_whose_other_names_were_given_up_ends_with_its_last(
    api: FakeApi, scheduler: SchedulerClient
) -> None:
    await api.put("a", READY)
    await api.put("b", READY)
    given_up = asyncio.create_task(scheduler.job("a").result())
    kept = asyncio.create_task(scheduler.job("b").result(10))
    await wait_until(lambda: api.open_watches == 1)
    given_up.cancel()
    await api.put("b", SUCCEEDED)

    await kept
    await wait_until(lambda: api.open_watches == 0)


async def test_closing_the_client_ends_all_waiting(api: FakeApi) -> None:
    await api.put("a", READY)
    async with SchedulerClient(api.address) as client:
        job = client.job("a")
        waiting = asyncio.create_task(job.result())
        await wait_until(lambda: api.open_watches == 1)

    with pytest.raises(Unavailable, match="closed"):
        await waiting
    with pytest.raises(FailedPrecondition, match="not open"):
        await job.result()
    await wait_until(lambda: api.open_watches == 0)


async def test_watching_tells_every_change_until_the_end(api: FakeApi, scheduler: SchedulerClient) -> None:
    await api.put("a", READY)
    seen: list[tuple[JobState, int]] = []
    async for snapshot in scheduler.job("a").watch():
        seen.append((snapshot.state, snapshot.progress.done if snapshot.progress else 0))
        if snapshot.state is JobState.READY:
            await api.put("a", LEASED, progress=job_pb2.Progress(done=1))
        elif snapshot.state is JobState.LEASED:
            await api.put("a", SUCCEEDED)

    assert seen == [(JobState.READY, 0), (JobState.LEASED, 1), (JobState.SUCCEEDED, 0)]


async def test_watching_takes_any_number_of_names_and_repeats_nothing_after_a_cut(
    api: FakeApi, scheduler: SchedulerClient
) -> None:
    names = [str(n) for n in range(700)]
    for name in names:
        await api.put(name, READY)
    seen: list[str] = []
    async for snapshot in scheduler.watch(names):
        seen.append(f"{snapshot.name}:{snapshot.state}")
        if len(seen) == 700:
            await api.cut_watches()
            for name in names:
                await api.put(name, SUCCEEDED)

    assert sorted(seen) == sorted(f"{name}:{state}" for name in names for state in ("READY", "SUCCEEDED"))


async def test_a_watch_that_is_left_early_ends_its_streams(api: FakeApi, scheduler: SchedulerClient) -> None:
    for n in range(600):
        await api.put(str(n), READY)
    async with aclosing(scheduler.watch([str(n) for n in range(600)])) as snapshots:
        async for _ in snapshots:
            break

    await wait_until(lambda: api.open_watches == 0)


async def test_watching_only_the_ends_leaves_out_the_rest(api: FakeApi, scheduler: SchedulerClient) -> None:
    await api.put("a", SUCCEEDED)
    await api.put("b", LEASED)

    async def end_b() -> None:
        await wait_until(lambda: api.open_watches == 1)
        await api.put("b", DEAD)

    ending = asyncio.create_task(end_b())
    assert [(s.name, s.state) async for s in scheduler.watch(["a", "b"], terminal_only=True)] == [
        ("a", "SUCCEEDED"),
        ("b", "DEAD"),
    ]
    await ending


async def test_watching_what_does_not_exist_is_an_error(api: FakeApi, scheduler: SchedulerClient) -> None:
    await api.put("a", READY)

    with pytest.raises(NotFound, match="there is no job nothing"):
        _ = [snapshot async for snapshot in scheduler.watch(["a", "nothing"])]


async def test_get_and_cancel_answer_with_the_job(api: FakeApi, scheduler: SchedulerClient) -> None:
    await api.put("a", LEASED, cancel_requested=True)
    job = scheduler.job("a")

    assert (await job.get()).state is JobState.LEASED
    assert (await job.cancel()).cancel_requested
    with pytest.raises(NotFound):
        await scheduler.get("nothing")
    api.failures.append(FailedPrecondition("a has already finished"))
    with pytest.raises(FailedPrecondition):
        await job.cancel()


async def test_calls_have_a_deadline(api: FakeApi) -> None:
    async with SchedulerClient(api.address, timeout_s=1.5) as client:
        await api.put("a", READY)
        await client.get("a")
        with pytest.raises(ServiceError):
            await client.get("nothing")

    assert all(0 < metadata["time_remaining"] <= 1.6 for metadata in api.metadata)
