"""Timeouts, cancellation, progress and drain, as handlers and their scheduler see them."""

from __future__ import annotations

import asyncio
import threading
import time

from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks_worker import Context, task

from tests.integration.worker.conftest import Attach
from tests.support.fake_scheduler import FakeScheduler, FakeSession, outcome, refs
from tests.support.wait import wait_until

TRANSIENT = job_pb2.FAILURE_CATEGORY_TRANSIENT
TIMEOUT = job_pb2.FAILURE_CATEGORY_TIMEOUT


async def test_an_async_handler_that_runs_too_long_is_cancelled_and_has_timed_out(attach: Attach) -> None:
    ended: list[str] = []

    @task(name="sleeps")
    async def sleeps() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cleaned up")

    async with attach(sleeps) as session:
        failure = (await outcome(session, "sleeps", timeout_s=0.05)).failed.failure

        assert failure.category == TIMEOUT
        assert failure.message == "the attempt ran longer than 0.05 s"
        assert "await asyncio.sleep(60)" in failure.trace
        assert ended == ["cleaned up"]
        await session.credited(4)


async def test_a_thread_that_runs_too_long_is_reported_at_once_and_keeps_its_slot_until_it_ends(
    attach: Attach,
) -> None:
    go = threading.Event()

    @task(name="stuck")
    def stuck() -> None:
        go.wait(20)

    async with attach(stuck) as session:
        failure = (await outcome(session, "stuck", timeout_s=0.05)).failed.failure
        assert failure.category == TIMEOUT
        assert "go.wait(20)" in failure.trace
        await session.credited(3)

        go.set()
        await session.credited(4)


async def test_a_timeout_error_of_the_handlers_own_is_no_timeout_of_the_attempt(attach: Attach) -> None:
    @task(name="impatient")
    async def impatient() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    async with attach(impatient) as session:
        failure = (await outcome(session, "impatient", timeout_s=30)).failed.failure

        assert (failure.error_class, failure.category) == ("TimeoutError", TRANSIENT)


async def test_a_thread_notices_that_it_is_cancelled_when_it_asks(attach: Attach) -> None:
    @task(name="asks")
    def asks(ctx: Context) -> None:
        while True:
            ctx.check_cancelled()
            time.sleep(0.005)

    async with attach(asks) as session:
        jobs = await session.assign("asks")
        await session.listed(jobs[0])
        await session.send(cancel=pb.Cancel(leases=refs(jobs)))

        assert (await session.result()).released.reason == "cancelled"


async def test_a_handler_that_finishes_in_spite_of_a_cancel_request_has_succeeded(attach: Attach) -> None:
    @task(name="stubborn")
    async def stubborn(ctx: Context) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            assert ctx.cancelled
        return "finished"

    async with attach(stubborn) as session:
        jobs = await session.assign("stubborn")
        await session.listed(jobs[0])
        await session.send(cancel=pb.Cancel(leases=refs(jobs)))

        assert (await session.result()).success.result.data == b'"finished"'


async def test_progress_is_sent_soon_and_only_its_last_word(scheduler: FakeScheduler, attach: Attach) -> None:
    scheduler.heartbeat_s, scheduler.lease_s = 60, 90
    go = asyncio.Event()

    @task(name="counts")
    async def counts(ctx: Context) -> None:
        for done in range(1, 101):
            ctx.progress(done, 100, f"step {done}")
        await go.wait()

    async with attach(counts) as session:
        began = time.monotonic()
        await session.assign("counts")
        progress = await session.told(100)

        assert time.monotonic() - began < 1
        assert (progress.total, progress.message) == (100, "step 100")
        assert len(session.progress) == 1
        go.set()
        await session.result()


async def test_progress_is_told_again_after_a_cut(scheduler: FakeScheduler, attach: Attach) -> None:
    go = asyncio.Event()

    @task(name="counts")
    async def counts(ctx: Context) -> None:
        ctx.progress(1)
        await go.wait()

    async with attach(counts) as session:
        await session.assign("counts")
        await session.told(1)
        session.cut()
        second = await scheduler.session()

        assert [held.progress.done for held in second.attach.held] == [1]
        go.set()
        await second.result()


async def test_a_thread_runs_a_coroutine_on_the_workers_loop_and_is_woken_by_a_cancel(attach: Attach) -> None:
    loops: list[object] = []

    async def where() -> int:
        loops.append(asyncio.get_running_loop())
        return 7

    @task(name="hops")
    def hops(ctx: Context) -> None:
        assert ctx.run(where()) == 7
        ctx.run(asyncio.sleep(60))

    async with attach(hops) as session:
        jobs = await session.assign("hops")
        await wait_until(lambda: loops == [asyncio.get_running_loop()])
        await session.send(cancel=pb.Cancel(leases=refs(jobs)))

        assert (await session.result()).released.reason == "cancelled"


async def test_a_drained_worker_finishes_what_it_can_and_gives_the_rest_back(
    scheduler: FakeScheduler, attach: Attach
) -> None:
    @task(name="naps")
    async def naps(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async with attach(naps, shutdown_grace_s=0.3) as session:
        (short,) = await session.assign("naps", b'{"seconds": 0.1}')
        (long,) = await session.assign("naps", b'{"seconds": 60}')
        await session.listed(long)

    assert session.draining
    results = await session.all_results(2)
    assert {r.job: r.WhichOneof("outcome") for r in results} == {short.job: "success", long.job: "released"}
    assert [r.released.reason for r in results if r.job == long.job] == ["draining"]
    await session.wait_ended()


async def test_jobs_that_come_while_a_worker_drains_go_straight_back(attach: Attach) -> None:
    go = asyncio.Event()

    @task(name="waits")
    async def waits() -> None:
        await go.wait()

    async def hand_out(session: FakeSession) -> pb.Result:
        await session.next("draining")
        await session.assign("waits")
        result = await session.result()
        go.set()
        return result

    async with attach(waits, shutdown_grace_s=5) as session:
        (first,) = await session.assign("waits")
        await session.listed(first)
        late = asyncio.create_task(hand_out(session))

    assert (await late).released.reason == "draining"
    assert [result.WhichOneof("outcome") for result in await session.all_results(1)] == ["success"]
