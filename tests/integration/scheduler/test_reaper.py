"""After an outage of Redis workers have a whole grace to say what they hold."""

from __future__ import annotations

import asyncio
import time

import grpc
from headworks.scheduler.v1 import job_pb2

from tests.integration.scheduler.conftest import Scheduler, Start
from tests.support.proxy import proxy
from tests.support.raw_worker import raw_worker
from tests.support.wait import wait_until

GRACE_S = 2.0


async def taken_away(scheduler: Scheduler, name: str) -> None:
    """Wait until the job is no longer leased."""

    async def free() -> bool:
        try:
            return (await scheduler.get(name)).state != job_pb2.JOB_STATE_LEASED
        except grpc.aio.AioRpcError as error:  # a connection from before the outage breaks when it is used
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False

    await wait_until(free, 20, what="the lease to be taken", period_s=0.02)


async def test_no_lease_is_taken_until_redis_has_answered_for_a_whole_grace(start: Start, valkey_url: str) -> None:
    async with proxy(valkey_url.removeprefix("redis://").partition("/")[0]) as between:
        times = {"lease_s": 1.0, "delivery_s": 1.0, "reconnect_grace_s": GRACE_S, "redis_timeout_s": 0.5}
        async with (
            start(redis_url=f"redis://{between.address}/0", **times) as scheduler,
            raw_worker(scheduler.worker) as worker,
        ):
            await worker.attach(credit=1)
            name = await scheduler.submit()
            await worker.jobs(1)
            between.refuse()
            between.cut()
            await asyncio.sleep(1.3 * GRACE_S)  # the outage: longer than the lease and the grace
            await between.accept()
            back = time.monotonic()
            await taken_away(scheduler, name)

    assert time.monotonic() - back >= GRACE_S
