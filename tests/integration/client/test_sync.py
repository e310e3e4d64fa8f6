"""The blocking clients do what the asyncio ones do, from threads without an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from headworks.scheduler.v1 import job_pb2
from headworks_client import (
    JobCancelled,
    JobFailed,
    Learned,
    PermitRequest,
    Submission,
    SyncLimiterClient,
    SyncSchedulerClient,
    task,
)
from headworks_core.errors import FailedPrecondition, NotFound, ResourceExhausted, Unavailable

from tests.support.fake_api import QUEUE, FakeApi
from tests.support.ports import free_port
from tests.support.wait import wait_until

T = TypeVar("T")
CALLER_S = 30.0


async def caller(work: Callable[[], T]) -> T:
    """Run it in a thread, as code without an event loop does."""
    async with asyncio.timeout(CALLER_S):
        return await asyncio.to_thread(work)


@task(name="add", queue="sums")
def add(a: int, b: int) -> int:
    """A sum."""
    return a + b


async def test_permits_are_asked_for_and_counted(api: FakeApi) -> None:
    def work() -> None:
        with SyncLimiterClient(api.address, tenant="t1") as limiter:
            assert limiter.check("api", {"user": "a"}).allowed
            assert limiter.consume("api", {"user": "a"}, 3).permits == 3
            good, bad = limiter.consume_batch([PermitRequest("api", {"user": "a"}), PermitRequest("api", {"bad": "a"})])
            assert (isinstance(good, Exception), isinstance(bad, Exception)) == (False, True)
            learned = limiter.report_outcome("api", {"user": "a"}, 429, {"Retry-After": "2"}, latency_s=0.5)
            assert learned == Learned(1.5, ("upstream",))

    await caller(work)
    assert [metadata["headworks-tenant"] for metadata in api.metadata] == ["t1"] * 4
    assert dict(api.requests[-1].headers) == {"retry-after": "2"}


async def test_a_call_is_repeated_under_its_request_id_and_a_refusal_is_typed(api: FakeApi) -> None:
    api.failures.append(Unavailable("away"))

    def submit() -> str:
        with SyncSchedulerClient(api.address) as client:
            return client.submit(Submission(task="t")).name

    name = await caller(submit)
    first, second = api.requests
    assert first.job.request_id == second.job.request_id
    assert name.startswith(QUEUE)
    api.failures.append(ResourceExhausted("full"))
    with pytest.raises(ResourceExhausted, match="full"):
        await caller(submit)


async def test_a_task_is_submitted_to_its_queue(api: FakeApi) -> None:
    def work() -> None:
        with SyncSchedulerClient(api.address) as client:
            client.submit_task(add, 1, b=2)

    await caller(work)
    (request,) = api.requests
    assert (request.queue, request.job.spec.task, request.job.spec.payload.data) == ("sums", "add", b'{"a":1,"b":2}')


async def test_a_result_is_waited_for_over_a_cut_stream(api: FakeApi) -> None:
    await api.put(f"{QUEUE}1", job_pb2.JOB_STATE_READY)

    def work() -> object:
        with SyncSchedulerClient(api.address) as client:
            return client.job(f"{QUEUE}1").result(CALLER_S)

    waiting = asyncio.create_task(caller(work))
    await wait_until(lambda: api.open_watches == 1, what="the watch")
    await api.cut_watches()
    await wait_until(lambda: len(api.watches) == 2, what="the watch to come back")
    await api.put(f"{QUEUE}1", job_pb2.JOB_STATE_SUCCEEDED, result=job_pb2.Payload(data=b"[1]"))
    assert await waiting == [1]


@pytest.mark.parametrize(
    ("state", "kind"), [(job_pb2.JOB_STATE_DEAD, JobFailed), (job_pb2.JOB_STATE_CANCELLED, JobCancelled)]
)
async def test_a_job_that_did_not_succeed_raises(api: FakeApi, state: job_pb2.JobState, kind: type[Exception]) -> None:
    await api.put(f"{QUEUE}1", state)

    def work() -> None:
        with SyncSchedulerClient(api.address) as client:
            assert client.job(f"{QUEUE}1").ended().state.terminal
            with pytest.raises(kind):
                client.job(f"{QUEUE}1").result()

    await caller(work)


async def test_waiting_ends_after_the_timeout_and_the_stream_with_it(api: FakeApi) -> None:
    await api.put(f"{QUEUE}1", job_pb2.JOB_STATE_READY)

    def work() -> float:
        with SyncSchedulerClient(api.address) as client:
            begun = time.monotonic()
            with pytest.raises(TimeoutError, match="1 of the jobs"):
                client.job(f"{QUEUE}1").ended(0.2)
            return time.monotonic() - begun

    assert 0.2 <= await caller(work) < 5
    await wait_until(lambda: api.open_watches == 0, what="the watch to end")


async def test_a_watch_that_is_left_ends_its_stream(api: FakeApi) -> None:
    await api.put(f"{QUEUE}1", job_pb2.JOB_STATE_READY)
    left = threading.Event()

    def work() -> None:
        with SyncSchedulerClient(api.address) as client:
            changes = client.job(f"{QUEUE}1").watch()
            assert next(iter(changes)).state == "READY"
            del changes
            assert left.wait(CALLER_S)

    working = asyncio.create_task(caller(work))
    await wait_until(lambda: bool(api.watches) and api.open_watches == 0, what="the watch to end")
    left.set()
    await working


async def test_an_unknown_job_is_not_found(api: FakeApi) -> None:
    def work() -> None:
        with SyncSchedulerClient(api.address) as client:
            client.get(f"{QUEUE}none")

    with pytest.raises(NotFound):
        await caller(work)


async def test_threads_share_a_client(api: FakeApi) -> None:
    def work() -> set[str]:
        with SyncSchedulerClient(api.address) as client, ThreadPoolExecutor(8) as pool:
            return set(pool.map(lambda _: client.submit(Submission(task="t")).name, range(200)))

    assert len(await caller(work)) == 200


async def test_a_client_says_when_it_is_not_open(api: FakeApi) -> None:
    client = SyncLimiterClient(api.address)
    with client:
        pass
    with pytest.raises(FailedPrecondition, match="not open"):
        client.check("api", {})


async def test_a_client_from_before_a_fork_is_refused(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with SyncSchedulerClient(api.address) as client:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(FailedPrecondition, match="before a fork"):
            client.get("a")
        with pytest.raises(FailedPrecondition, match="before a fork"):
            client.job("a").result()


def test_a_wait_without_a_scheduler_ends_in_time() -> None:
    began, used = time.monotonic(), time.process_time()
    with SyncSchedulerClient(f"127.0.0.1:{free_port()}") as client, pytest.raises(TimeoutError):
        client.job("tenants/default/queues/default/jobs/0-0").result(timeout_s=1.5)
    assert time.monotonic() - began < 3
    assert time.process_time() - used < 1
