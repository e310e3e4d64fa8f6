"""Workers as processes: heartbeats while handlers spin, SIGTERM, health, mistakes at start."""

from __future__ import annotations

import itertools
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.fake_scheduler import FakeScheduler, FakeSession, fake_scheduler
from tests.support.ports import free_port
from tests.support.processes import Child, child
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[3]
PROGRAM = (sys.executable, "-m", "headworks_worker")


@asynccontextmanager
async def worker(*flags: str, tasks: str = "tests.integration.worker.tasks") -> AsyncIterator[Child]:
    """`headworks-worker` with these flags."""
    async with child("worker", [*PROGRAM, "--tasks", tasks, *flags], cwd=ROOT) as process:
        yield process


@asynccontextmanager
async def attached(scheduler: FakeScheduler, *flags: str) -> AsyncIterator[tuple[Child, FakeSession]]:
    """A worker, and its session."""
    async with worker("--scheduler", scheduler.address, "--slots", "4", *flags) as process:
        yield process, await scheduler.session()


@pytest.mark.parametrize("name", ["spin", "spin-in-thread"])
async def test_a_handler_that_spins_keeps_its_lease_and_those_of_others(name: str) -> None:
    async with (
        fake_scheduler(heartbeat_s=0.2, lease_s=0.6) as scheduler,
        attached(scheduler, "--shutdown-grace-s", "0.1") as (_, session),
    ):
        (napping,) = await session.assign("nap", b'{"seconds": 60}')
        await session.listed(napping)
        (spinning,) = await session.assign(name, b'{"seconds": 2.5}')
        key = (spinning.job, spinning.lease_id)
        result = await session.result()

        listed = [at for at, keys in session.beats if key in keys]
        gaps = [after - before for before, after in itertools.pairwise(listed)]
        assert result.success.result.data
        assert listed[-1] - listed[0] > 3 * scheduler.lease_s
        assert max(gaps) < scheduler.lease_s
        assert all((napping.job, napping.lease_id) in keys for at, keys in session.beats if at > listed[0] + 0.2)


async def test_sigterm_lets_handlers_finish_and_ends_with_success() -> None:
    async with fake_scheduler() as scheduler, attached(scheduler) as (process, session):
        (job,) = await session.assign("nap", b'{"seconds": 0.5}')
        await session.listed(job)
        process.process.send_signal(signal.SIGTERM)

        assert [result.success.result.data for result in await session.all_results(1)] == [b'"rested"']
        assert await process.wait() == 0
        assert session.draining


async def test_what_does_not_finish_within_the_grace_is_given_back() -> None:
    async with (
        fake_scheduler() as scheduler,
        attached(scheduler, "--shutdown-grace-s", "0.2") as (process, session),
    ):
        jobs = await session.assign("nap", b'{"seconds": 60}')
        jobs += await session.assign("spin-in-thread", b'{"seconds": 60}')
        await session.listed(jobs[1])
        process.process.send_signal(signal.SIGTERM)

        reasons = [result.released.reason for result in await session.all_results(2)]
        assert reasons == ["draining", "draining"]
        assert await process.wait() == 0


async def test_a_second_signal_ends_the_worker_at_once() -> None:
    async with fake_scheduler() as scheduler, attached(scheduler) as (process, session):
        (job,) = await session.assign("nap", b'{"seconds": 60}')
        await session.listed(job)
        process.process.send_signal(signal.SIGTERM)
        await session.next("draining")
        began = time.monotonic()
        process.process.send_signal(signal.SIGTERM)

        assert await process.wait() < 0
        assert time.monotonic() - began < 2


async def test_health_says_whether_the_worker_hears_its_scheduler() -> None:
    port = free_port()
    async with (
        fake_scheduler() as scheduler,
        attached(scheduler, "--health-address", f"127.0.0.1:{port}") as (_, session),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)

        async def has(service: str, status: int) -> bool:
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            return bool(reply.status == status)

        await wait_until(lambda: has("readiness", health_pb2.HealthCheckResponse.SERVING))
        scheduler.answers = False
        session.cut()
        deaf = await scheduler.session()
        await wait_until(lambda: has("readiness", health_pb2.HealthCheckResponse.NOT_SERVING))
        assert await has("liveness", health_pb2.HealthCheckResponse.SERVING)
        scheduler.answers = True
        deaf.cut()
        await wait_until(lambda: has("readiness", health_pb2.HealthCheckResponse.SERVING))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tasks", "no_such_module"], "there is no module no_such_module"),
        (["--tasks", "tests.support.wait"], "module tests.support.wait has no @task function"),
        (["--tasks", ""], "name the modules with the tasks"),
        (["--tasks", "t", "--queues", "a=0"], "weight '0' of queue a"),
        (["--tasks", "t", "--slots", "0", "--name", "a b"], "HEADWORKS_WORKER_SLOTS"),
        (["--tasks", "t", "--slots", "0", "--name", "a b"], "HEADWORKS_WORKER_NAME"),
    ],
)
async def test_a_mistake_at_start_is_one_clear_line(flags: list[str], said: str) -> None:
    async with child("worker", [*PROGRAM, *flags], cwd=ROOT) as process:
        assert await process.wait() == 2
        assert any(said in line for line in process.tail)
        assert not any("Traceback" in line for line in process.tail)


async def test_help_lists_every_setting_with_what_it_means() -> None:
    lines: list[str] = []
    async with child("worker", [*PROGRAM, "--help"], cwd=ROOT, on_line=lines.append) as process:
        assert await process.wait() == 0

    text = "\n".join(lines)
    assert "--health-address" in text
    assert "Jobs run at a time." in text
