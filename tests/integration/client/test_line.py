"""The whole line in one process: a caller, the real limiter and scheduler on Valkey, real workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from headworks_client import (
    FailureCategory,
    JobCancelled,
    JobFailed,
    JobState,
    LimiterClient,
    Retry,
    SchedulerClient,
    Submission,
    Task,
)
from headworks_limiter.app import limiter_app
from headworks_limiter.settings import Settings as LimiterSettings
from headworks_scheduler.app import Ports, scheduler_app
from headworks_scheduler.settings import Settings as SchedulerSettings
from headworks_worker import Context, PermanentError, RetryLater, Worker, task
from redis.asyncio import Redis

from tests.support.wait import wait_until

RULES = """
namespaces:
  line:
    rules:
      - name: five-a-second
        match: {what: "*"}
        algorithm: fixed_window
        limit: 5
        per: 1s
"""


@dataclass
class Line:
    """What the tests of this module need of it."""

    settings: dict[str, Any]
    stack: AsyncExitStack
    limiter: LimiterClient
    client: SchedulerClient
    ports: list[Ports]

    async def scheduler(self) -> AsyncExitStack:
        """Start one more replica; closing what is returned stops it."""
        stack = await self.stack.enter_async_context(AsyncExitStack())
        self.ports.append(await stack.enter_async_context(scheduler_app(SchedulerSettings(**self.settings))))
        return stack

    async def worker(self, *tasks: Task[..., Any], **options: Any) -> AsyncExitStack:
        """Start a worker for all replicas; closing what is returned stops it."""
        stack = await self.stack.enter_async_context(AsyncExitStack())
        target = "ipv4:" + ",".join(f"127.0.0.1:{ports.worker}" for ports in self.ports)
        chosen: dict[str, Any] = {"slots": 10, "shutdown_grace_s": 0.2, "limiter": self.limiter, **options}
        await stack.enter_async_context(Worker(tasks, scheduler=target, **chosen))
        return stack


@pytest.fixture
async def line(redis: Redis, valkey_url: str, tmp_path: Path) -> AsyncIterator[Line]:
    """A limiter, one scheduler and clients of both; no worker yet."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    settings: dict[str, Any] = {
        "address": "127.0.0.1:0",
        "worker_address": "127.0.0.1:0",
        "redis_url": valkey_url,
        "events": "none",
        "shutdown_grace_s": 3,
        "reconnect_grace_s": 0.1,
    }
    limits: dict[str, Any] = {"address": "127.0.0.1:0", "redis_url": valkey_url, "rules_file": str(rules)}
    async with AsyncExitStack() as stack:
        limiter_port = await stack.enter_async_context(limiter_app(LimiterSettings(**limits, redis_timeout_ms=5_000)))
        ports = await stack.enter_async_context(scheduler_app(SchedulerSettings(**settings)))
        limiter = await stack.enter_async_context(LimiterClient(f"127.0.0.1:{limiter_port}"))
        client = await stack.enter_async_context(SchedulerClient(f"127.0.0.1:{ports.api}"))
        yield Line(settings, stack, limiter, client, [ports])


QUICK = Retry(max_attempts=3, initial_backoff_s=0.02, jitter=0.0)


@task
async def add(a: int, b: int = 1) -> int:
    """The sum."""
    return a + b


@task
def add_in_thread(a: int) -> int:
    """The sum, on a thread."""
    return a + 1


@task(retry=QUICK)
async def third_time_lucky(ctx: Context) -> int:
    """Fails twice."""
    if ctx.attempt < 3:
        raise OSError(f"attempt {ctx.attempt}")
    return ctx.attempt


@task(retry=QUICK)
async def hopeless(how: str) -> None:
    """Fails."""
    raise {"permanent": PermanentError("never"), "listed": KeyError("k"), "always": OSError("again")}[how]


@task
async def sleeps(ctx: Context, seconds: float) -> str:
    """Tells that it has begun, and waits."""
    ctx.progress(1, 2, "begun")
    await asyncio.sleep(seconds)
    return ctx.job


async def test_a_submitted_task_is_run_and_its_result_comes_back(line: Line) -> None:
    await line.worker(add, add_in_thread)

    first, second = await add.submit(a=1, b=2), await add_in_thread.submit(a=5)

    assert await first.result(10) == 3
    assert await second.result(10) == 6
    snapshot = await first.get()
    assert snapshot.state is JobState.SUCCEEDED
    assert (snapshot.attempts, snapshot.failures, snapshot.submission.task) == (1, 0, add.name)


async def test_a_thousand_jobs_come_back_each_with_its_own_result(line: Line) -> None:
    await line.worker(add, slots=200)

    jobs = await line.client.submit_many([add.submission(a=n, b=0) for n in range(1000)])

    assert await asyncio.gather(*(job.result(30) for job in jobs if not isinstance(job, Exception))) == list(
        range(1000)
    )


async def test_the_same_request_id_is_the_same_job(line: Line) -> None:
    once = add.options(request_id="01890000-0000-7000-8000-000000000001")

    first, second = await once.submit(a=1), await once.submit(a=1)

    assert first.name == second.name
    assert (first.existing, second.existing) == (False, True)


async def test_progress_can_be_watched_while_the_job_runs(line: Line) -> None:
    await line.worker(sleeps)
    job = await sleeps.submit(seconds=0.6)

    seen = [(snapshot.state, snapshot.progress and snapshot.progress.message) async for snapshot in job.watch()]

    assert (JobState.LEASED, "begun") in seen
    assert seen[-1][0] is JobState.SUCCEEDED


async def test_a_failed_attempt_is_tried_again(line: Line) -> None:
    await line.worker(third_time_lucky)
    job = await third_time_lucky.submit()

    assert await job.result(10) == 3
    snapshot = await job.get()
    assert (snapshot.attempts, snapshot.failures) == (3, 2)
    assert snapshot.failure is not None
    assert snapshot.failure.message == "attempt 2"


@pytest.mark.parametrize(
    ("how", "category", "failures"),
    [
        ("permanent", FailureCategory.PERMANENT, 1),
        ("listed", FailureCategory.PERMANENT, 1),
        ("always", FailureCategory.TRANSIENT, 3),
    ],
)
async def test_a_job_that_cannot_succeed_is_a_dead_letter(
    line: Line, how: str, category: FailureCategory, failures: int
) -> None:
    await line.worker(hopeless)
    retry = Retry(max_attempts=3, initial_backoff_s=0.01, non_retryable=("LookupError",))
    job = await hopeless.options(retry=retry).submit(how=how)

    with pytest.raises(JobFailed) as raised:
        await job.result(10)

    assert raised.value.category is category
    assert raised.value.snapshot.failures == failures


async def test_arguments_that_do_not_fit_make_a_dead_letter_at_once(line: Line) -> None:
    await line.worker(add)
    job = await add.submit(a="one")

    with pytest.raises(JobFailed, match="argument a: Input should be a valid integer") as raised:
        await job.result(10)
    assert raised.value.category is FailureCategory.PERMANENT


async def test_an_attempt_that_runs_too_long_times_out(line: Line) -> None:
    await line.worker(sleeps)
    job = await sleeps.options(timeout_s=0.05, retry=Retry(max_attempts=1)).submit(seconds=60)

    with pytest.raises(JobFailed) as raised:
        await job.result(10)
    assert raised.value.category is FailureCategory.TIMEOUT


async def test_a_handler_says_when_to_try_again(line: Line) -> None:
    began: list[float] = []

    @task(name="later")
    async def later(ctx: Context) -> None:
        began.append(time.monotonic())
        if ctx.attempt == 1:
            raise RetryLater(0.4)

    await line.worker(later)
    await (await later.submit()).result(10)

    assert began[1] - began[0] >= 0.4


async def test_a_waiting_job_is_cancelled_at_once(line: Line) -> None:
    job = await add.submit(a=1)

    assert (await job.cancel()).state is JobState.CANCELLED
    with pytest.raises(JobCancelled):
        await job.result(10)


async def test_a_running_job_is_cancelled_when_its_handler_has_ended(line: Line) -> None:
    await line.worker(sleeps)
    job = await sleeps.submit(seconds=60)
    await until_begun(line, job.name)

    assert (await job.cancel()).cancel_requested
    with pytest.raises(JobCancelled):
        await job.result(10)


async def test_a_delayed_job_waits_its_time(line: Line) -> None:
    await line.worker(add)
    began = time.monotonic()
    job = await add.options(delay_s=0.5).submit(a=1)

    assert (await job.get()).state is JobState.SCHEDULED
    assert await job.result(10) == 2
    assert time.monotonic() - began >= 0.5


async def test_handlers_wait_for_permits_in_their_slots(line: Line) -> None:
    granted: list[float] = []

    @task(name="limited")
    async def limited(ctx: Context) -> None:
        await ctx.acquire("line", {"what": "x"})
        granted.append(time.monotonic())

    @task(name="limited-thread")
    def limited_thread(ctx: Context) -> None:
        ctx.acquire_blocking("line", {"what": "x"})
        granted.append(time.monotonic())

    await line.worker(limited, limited_thread, slots=12)
    jobs = [await chosen.submit() for chosen in (limited, limited_thread) for _ in range(6)]
    await asyncio.gather(*(job.result(20) for job in jobs))

    assert len(granted) == 12
    granted.sort()
    assert granted[10] - granted[0] > 1  # the eleventh is of the third window


async def test_a_handler_may_submit_jobs_and_wait_for_them(line: Line) -> None:
    @task(name="parent")
    async def parent() -> int:
        jobs = [await add.submit(a=n) for n in range(3)]
        return sum(await asyncio.gather(*(job.result(10) for job in jobs)))

    await line.worker(parent, add)

    assert await (await parent.submit()).result(10) == 6


async def test_what_a_leaving_worker_gives_back_is_done_by_another(line: Line) -> None:
    go = asyncio.Event()

    @task(name="held")
    async def held(ctx: Context) -> int:
        ctx.progress(1)
        await go.wait()
        return ctx.attempt

    leaving = await line.worker(held)
    job = await held.submit()
    await until_begun(line, job.name)
    await leaving.aclose()
    go.set()
    await line.worker(held)

    assert await job.result(10) is not None
    snapshot = await job.get()
    assert (snapshot.failures, snapshot.lost_leases) == (0, 0)


async def test_a_rolling_restart_of_the_schedulers_disturbs_no_job(line: Line) -> None:
    ends: list[str] = []
    go = asyncio.Event()

    @task(name="steady")
    async def steady(ctx: Context) -> int:
        ctx.progress(1)
        try:
            await go.wait()
        finally:
            ends.append(ctx.job)
        return ctx.attempt

    second = await line.scheduler()
    third = await line.scheduler()
    await line.worker(steady)
    jobs = [await steady.submit() for _ in range(5)]
    for job in jobs:
        await until_begun(line, job.name)
    await second.aclose()
    await third.aclose()
    go.set()

    assert await asyncio.gather(*(job.result(10) for job in jobs)) == [1] * 5
    assert sorted(ends) == sorted(job.name for job in jobs)


async def test_a_job_of_an_unknown_task_waits_for_a_worker_that_knows_it(line: Line) -> None:
    await line.worker(add)
    job = await line.client.submit(Submission("nobody.knows"))

    await wait_until(lambda: is_in(line, job.name, JobState.SCHEDULED))
    assert (await job.get()).failures == 0


async def is_in(line: Line, name: str, state: JobState) -> bool:
    """Whether a job is in a state."""
    return (await line.client.get(name)).state is state


async def until_begun(line: Line, name: str) -> None:
    """Wait until a handler has told its progress."""
    async for snapshot in line.client.watch([name]):
        if snapshot.progress is not None:
            return
    raise AssertionError(f"{name} ended without progress")
