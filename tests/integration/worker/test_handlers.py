"""What happens to handlers, and what is reported of them."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from typing import Any

import pytest
from headworks.scheduler.v1 import job_pb2
from headworks_client import Content, Retry, SchedulerClient
from headworks_client.durations import to_seconds
from headworks_core.errors import FailedPrecondition
from headworks_worker import Context, PermanentError, RetryLater, task
from headworks_worker.failures import TRACE_MAX

from tests.integration.worker.conftest import Attach
from tests.support.fake_scheduler import outcome

TRANSIENT = job_pb2.FAILURE_CATEGORY_TRANSIENT
PERMANENT = job_pb2.FAILURE_CATEGORY_PERMANENT


class Broken(ValueError):
    """An error of a handler's own."""


class Panic(BaseException):
    """What bindings of native libraries raise, past every `except Exception`."""


@task
async def add(a: int, b: int = 10) -> int:
    """Two numbers."""
    return a + b


@task
def thread_name() -> str:
    """The thread it runs on."""
    return threading.current_thread().name


@task
async def no_json() -> object:
    """What has no form in JSON."""
    return object()


@task
async def too_much() -> bytes:
    """More than any scheduler takes."""
    return bytes(2 << 20)


@task
async def text() -> Content:
    """Content with a type of its own."""
    return Content(b"<p>", "text/html")


@task
async def raises(what: str) -> None:
    """Fails in the way that is asked for."""
    failures: dict[str, BaseException] = {
        "broken": Broken("no \udcff way"),
        "permanent": PermanentError("never"),
        "later": RetryLater(90.5),
        "exit": SystemExit(3),
        "generator": GeneratorExit(),
        "panic": Panic("native"),
        "cancelled": asyncio.CancelledError(),
        "long": ValueError("m" * 5000),
    }
    raise failures[what]


@task
def raises_in_thread() -> None:
    """Fails on a thread."""
    raise Panic("native")


@task
def deep(n: int) -> None:
    """Fails a long way down."""
    # Two functions in turns, as a traceback folds the repetitions of one.
    if n == 0:
        raise ValueError("the very bottom")
    deeper(n)


def deeper(n: int) -> None:
    """One step."""
    deep.function(n - 1)


async def test_arguments_are_taken_from_the_payload_and_defaults_apply(attach: Attach) -> None:
    async with attach(add) as session:
        result = await outcome(session, add.name, b'{"a": 5}')

        assert result.success.result.data == b"15"
        assert result.success.result.content_type == ""


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (b'{"a": "5"}', "argument a"),
        (b"{}", "argument a"),
        (b'{"a": 1, "c": 2}', "argument c"),
        (b"[1]", "payload"),
        (b"{", "payload"),
    ],
)
async def test_arguments_that_do_not_fit_are_a_permanent_failure_that_names_them(
    attach: Attach, payload: bytes, named: str
) -> None:
    async with attach(add) as session:
        failure = (await outcome(session, add.name, payload)).failed.failure

        assert failure.category == PERMANENT
        assert f"{add.name}: {named}: " in failure.message


async def test_a_plain_function_runs_in_a_thread(attach: Attach) -> None:
    async with attach(thread_name) as session:
        result = await outcome(session, thread_name.name)

        assert result.success.result.data.startswith(b'"headworks-task-')


async def test_threads_do_not_see_what_earlier_jobs_left_in_the_context(attach: Attach) -> None:
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="clean")

    @task(name="marks")
    def marks() -> str:
        found = mark.get()
        mark.set("dirty")
        return found

    async with attach(marks, slots=1) as session:
        for _ in range(3):
            assert (await outcome(session, "marks")).success.result.data == b'"clean"'


async def test_content_keeps_its_type(attach: Attach) -> None:
    async with attach(text) as session:
        result = (await outcome(session, text.name)).success.result

        assert (result.data, result.content_type) == (b"<p>", "text/html")


@pytest.mark.parametrize("chosen", [no_json, too_much])
async def test_a_result_that_cannot_be_sent_is_a_permanent_failure(attach: Attach, chosen: Any) -> None:
    async with attach(chosen) as session:
        failure = (await outcome(session, chosen.name)).failed.failure

        assert failure.category == PERMANENT
        assert failure.error_class == "headworks_worker.errors.ResultRefused"


async def test_an_exception_is_a_transient_failure_with_its_trace(attach: Attach) -> None:
    async with attach(raises) as session:
        result = await outcome(session, raises.name, b'{"what": "broken"}')
        failure = result.failed.failure

        assert failure.error_class == f"{__name__}.Broken"
        assert failure.message == "no ? way"
        assert failure.category == TRANSIENT
        assert "in raises\n    raise failures[what]" in failure.trace
        assert "headworks_worker" not in failure.trace
        assert not result.failed.HasField("retry_after")


@pytest.mark.parametrize("what", ["exit", "generator", "cancelled", "panic"])
async def test_a_handler_cannot_end_the_worker_or_its_own_cancellation_pass_for_one(attach: Attach, what: str) -> None:
    async with attach(raises, add) as session:
        failure = (await outcome(session, raises.name, f'{{"what": "{what}"}}'.encode())).failed.failure

        assert failure.category == TRANSIENT
        assert (await outcome(session, add.name, b'{"a": 1}')).WhichOneof("outcome") == "success"


async def test_a_thread_survives_whatever_its_handler_raises(attach: Attach) -> None:
    async with attach(raises_in_thread, thread_name, slots=1) as session:
        failure = (await outcome(session, raises_in_thread.name)).failed.failure

        assert failure.category == TRANSIENT
        assert (await outcome(session, thread_name.name)).WhichOneof("outcome") == "success"


async def test_a_permanent_error_is_not_tried_again(attach: Attach) -> None:
    async with attach(raises) as session:
        failure = (await outcome(session, raises.name, b'{"what": "permanent"}')).failed.failure

        assert (failure.category, failure.message) == (PERMANENT, "never")


@pytest.mark.parametrize("listed", ["Broken", f"{__name__}.Broken", "ValueError"])
async def test_a_class_that_the_policy_lists_is_not_tried_again(attach: Attach, listed: str) -> None:
    async with attach(raises) as session:
        retry = Retry(non_retryable=("KeyError", listed)).to_proto()
        failure = (await outcome(session, raises.name, b'{"what": "broken"}', retry=retry)).failed.failure

        assert failure.category == PERMANENT


async def test_a_handler_chooses_when_it_is_tried_again(attach: Attach) -> None:
    async with attach(raises) as session:
        result = await outcome(session, raises.name, b'{"what": "later"}')

        assert result.failed.failure.category == TRANSIENT
        assert to_seconds(result.failed.retry_after) == 90.5


async def test_long_messages_and_traces_are_cut_and_the_innermost_frames_kept(attach: Attach) -> None:
    limit = sys.getrecursionlimit()
    async with attach(raises, deep) as session:
        assert len((await outcome(session, raises.name, b'{"what": "long"}')).failed.failure.message) == 2000
        failure = (await outcome(session, deep.name, f'{{"n": {limit // 4}}}'.encode())).failed.failure

        assert len(failure.trace) == TRACE_MAX
        assert failure.trace.endswith("ValueError: the very bottom\n")


async def test_an_unknown_task_is_given_back_for_others_to_take(attach: Attach) -> None:
    async with attach(add) as session:
        released = (await outcome(session, "elsewhere")).released

        assert released.reason == "unknown_task"
        assert to_seconds(released.delay) == 30


async def test_a_handler_knows_its_job(attach: Attach) -> None:
    seen: list[Context] = []

    @task(name="looks")
    async def looks(ctx: Context, value: int) -> int:
        seen.append(ctx)
        return value

    async with attach(looks) as session:
        (job,) = await session.assign("looks", b'{"value": 1}', attempt=3, timeout_s=60)
        await session.result()

    (ctx,) = seen
    assert (ctx.job, ctx.lease_id, ctx.attempt) == (job.job, job.lease_id, 3)
    assert ctx.deadline is not None
    assert 0 < ctx.deadline - time.monotonic() < 60
    assert not ctx.cancelled


async def test_handlers_submit_through_the_client_that_is_open_around_the_worker(attach: Attach) -> None:
    found: list[SchedulerClient] = []

    @task(name="submits")
    async def submits() -> None:
        found.append(SchedulerClient.current())

    @task(name="submits-in-thread")
    def submits_in_thread() -> None:
        found.append(SchedulerClient.current())

    async with (
        SchedulerClient("127.0.0.1:1") as client,
        attach(submits, submits_in_thread) as session,
    ):
        await outcome(session, "submits")
        await outcome(session, "submits-in-thread")

    assert found == [client, client]


async def test_a_worker_without_a_limiter_says_so(attach: Attach) -> None:
    @task(name="asks")
    async def asks(ctx: Context) -> None:
        with pytest.raises(FailedPrecondition, match="without a limiter"):
            await ctx.acquire("n", {"k": "v"})

    async with attach(asks) as session:
        assert (await outcome(session, "asks")).WhichOneof("outcome") == "success"
