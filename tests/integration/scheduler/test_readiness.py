"""When callers and workers should not be sent to a replica, and why it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from headworks_core.readiness import Readiness
from headworks_scheduler import app
from headworks_worker import Worker
from redis.asyncio import Redis

from tests.e2e.tasks import add
from tests.integration.scheduler.conftest import Scheduler, Start
from tests.support.http import get
from tests.support.proxy import proxy
from tests.support.wait import wait_until


async def until(scheduler: Scheduler, status: int, text: str, timeout_s: float = 20) -> None:
    """Wait for this answer from /readyz."""

    async def answered() -> bool:
        found, body = await get(scheduler.monitor, "/readyz")
        return found == status and text in body

    await wait_until(answered, timeout_s, what=f"{status} {text!r}")


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_store_that_is_cut_off_in_one_direction_is_a_fault_and_liveness_is_not(
    start: Start, valkey_url: str, way: str
) -> None:
    async with (
        proxy(valkey_url.removeprefix("redis://").partition("/")[0]) as redis,
        start(redis_url=f"redis://{redis.address}/0", redis_timeout_s=1) as scheduler,
    ):
        await until(scheduler, 200, "ready")
        redis.stall("up" if way == "up" else "down")
        await until(scheduler, 503, "store: ")
        assert await scheduler.health("readiness") == "NOT_SERVING"
        assert await scheduler.health("liveness") == "SERVING"
        assert await get(scheduler.monitor, "/livez") == (200, "ok\n")
        await redis.clear()
        redis.cut()
        await until(scheduler, 200, "ready")
        assert await scheduler.health("readiness") == "SERVING"


async def test_a_replica_without_its_subscription_is_not_ready(
    start: Start, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "DEAF_S", 7.0)  # more than the five seconds after which an idle one is asked
    async with start() as scheduler:
        execute: Callable[..., object] = redis.execute_command
        assert await execute("ACL", "SETUSER", "default", "resetchannels")  # type: ignore[misc]
        try:
            await until(scheduler, 503, "subscription: silent for ")
            assert await scheduler.health("liveness") == "SERVING"
        finally:
            assert await execute("ACL", "SETUSER", "default", "allchannels")  # type: ignore[misc]
        await until(scheduler, 200, "ready")


async def test_a_worker_whose_words_do_not_arrive_is_not_ready(start: Start) -> None:
    said: list[bool] = []
    async with (
        start(lease_s=1.5) as scheduler,
        proxy(f"127.0.0.1:{scheduler.worker}") as link,
        Worker([add], scheduler=link.address, on_ready=said.append, shutdown_grace_s=0.1),
    ):
        await wait_until(lambda: said == [True], 10, what="the worker to be ready")
        link.stall("up")
        await wait_until(lambda: said[-1] is False, 20, what="it to be not ready")
        await link.clear()
        link.cut()
        await wait_until(lambda: said[-1] is True, 20, what="it to be ready again")


class Check:
    """A check with a fault that can be set."""

    def __init__(self) -> None:
        self.fault = ""

    async def __call__(self) -> str:
        await asyncio.sleep(0)
        return self.fault


async def test_a_blip_is_no_fault_and_one_good_answer_no_recovery() -> None:
    check = Check()
    readiness = Readiness({"store": check})
    assert readiness.faults == ["starting"]
    await readiness.begin()

    async def probes(*faults: str) -> list[str]:
        for check.fault in faults:
            await readiness.probe()
        return readiness.faults

    assert await probes("slow", "slow", "", "slow", "slow") == []
    assert await probes("gone") == ["store: gone"]
    assert await probes("", "other") == ["store: other"]
    assert await probes("", "") == []
    readiness.end()
    assert readiness.faults == ["stopping"]
