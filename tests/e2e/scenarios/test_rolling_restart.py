"""Row 24: both schedulers are restarted, one after the other, under 200 sessions that hold leases."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

from headworks.worker.v1 import session_pb2 as pb
from headworks_client import JobState, SchedulerClient
from headworks_devkit.backends import RedisBackend
from headworks_devkit.processes import Child
from redis.asyncio import Redis

from tests.e2e.scenarios.jobs import delivered, looked_at, some, submit
from tests.support.raw_worker import RawWorker, raw_worker
from tests.support.suite import Suite, running_suite

SESSIONS = 200
DRAIN_S = 10


class Holder:
    """A worker with one job, that goes elsewhere when it is asked to."""

    def __init__(self, name: str, ports: list[int]) -> None:
        self.name = name
        self.sessions = 0
        self._ports = ports
        self._stack = AsyncExitStack()
        self._worker: RawWorker | None = None

    async def take(self, at: int) -> None:
        """Attach to that scheduler and get a job."""
        self._worker = await self._attached(at, credit=1)
        (self.job,) = await self._worker.jobs(1)
        await self._worker.beat(self.job)

    async def move(self, to: int) -> None:
        """When the scheduler says so, attach to another with the lease, and only then leave."""
        assert self._worker is not None
        await self._worker.next("drain")
        old, self._worker = self._worker, await self._attached(to, held=[self._held()])
        await self._worker.beat(self.job)
        await old.leave()

    async def finish(self) -> pb.Ack:
        """Report success."""
        assert self._worker is not None
        return await self._worker.finish(self.job)

    async def close(self) -> None:
        """End its sessions."""
        await self._stack.aclose()

    def _held(self) -> pb.HeldLease:
        return pb.HeldLease(job=self.job.job, lease_id=self.job.lease_id)

    async def _attached(self, at: int, **attach: object) -> RawWorker:
        worker = await self._stack.enter_async_context(raw_worker(self._ports[at]))
        attached = await worker.attach(worker=self.name, slots=1, **attach)  # type: ignore[arg-type]
        assert not attached.lost, f"{self.name} lost its lease"
        self.sessions += 1
        return worker


async def rolled(suite: Suite, process: Child, number: int, holders: list[Holder]) -> float:
    """Restart a scheduler while its sessions go to the other one; the seconds that it took to stop."""
    began = time.monotonic()
    stopping = asyncio.create_task(process.stop(3 * DRAIN_S))
    await asyncio.gather(*[holder.move(1 - number) for holder in holders])
    assert await stopping == 0
    took_s = time.monotonic() - began
    await suite.restart(process.name)
    return took_s


async def test_24_a_rolling_restart_under_200_sessions_reassigns_nothing(
    valkey_url: str, redis: Redis, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        suite = await stack.enter_async_context(running_suite(RedisBackend(valkey_url, "valkey"), None, tmp_path))
        processes = [
            await suite.scheduler(f"scheduler-{number}", lease_s=60, delivery_s=60, shutdown_grace_s=DRAIN_S)
            for number in (1, 2)
        ]
        ports = [int(address.rpartition(":")[2]) for address in suite.worker_target.removeprefix("ipv4:").split(",")]
        async with SchedulerClient(suite.api) as client:
            names = await submit(client, some(SESSIONS))
        holders = [Holder(f"worker-{number}", ports) for number in range(SESSIONS)]
        for holder in holders:
            stack.push_async_callback(holder.close)
        await asyncio.gather(*[holder.take(number % 2) for number, holder in enumerate(holders)])
        await delivered(redis, *[holder.job for holder in holders])

        drains = [await rolled(suite, processes[0], 0, holders[::2])]
        drains.append(await rolled(suite, processes[1], 1, holders))

        acks = await asyncio.gather(*[holder.finish() for holder in holders])
        async with SchedulerClient(suite.api) as client:
            ends = await looked_at(client, names)

    assert [ack for ack in acks if ack.lost] == []
    assert {(job.state, job.attempts, job.lost_leases, job.undelivered) for job in ends} == {
        (JobState.SUCCEEDED, 1, 0, 0)
    }
    assert {job.name: job.lease_id for job in ends} == {holder.job.job: holder.job.lease_id for holder in holders}
    assert [holder.sessions for holder in holders] == [3, 2] * (SESSIONS // 2)
    assert max(drains) < DRAIN_S
