"""What operators ask about queues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from headworks.scheduler.v1 import admin_service_pb2 as pb
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1.admin_service_pb2_grpc import AdminServiceStub
from headworks_core.errors import Reason
from redis.asyncio import Redis

from tests.integration.scheduler.conftest import Scheduler, Start
from tests.integration.scheduler.test_api import refusal
from tests.support.raw_worker import failed, raw_worker
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from headworks.scheduler.v1.admin_service_pb2_grpc import AdminServiceAsyncStub


@pytest.fixture
async def admin(scheduler: Scheduler) -> AsyncIterator[AdminServiceAsyncStub]:
    """A caller of the admin API."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{scheduler.api}") as channel:
        stub: Any = AdminServiceStub(channel)
        yield stub


async def queue(admin: AdminServiceAsyncStub, name: str = "default", tenant: str = "default") -> pb.Queue:
    """One queue, as a tenant sees it."""
    response = await admin.GetQueue(pb.GetQueueRequest(queue=name), metadata=[("headworks-tenant", tenant)])
    return response.queue


async def test_all_queues_are_listed_by_id_with_what_they_are_told(admin: AdminServiceAsyncStub) -> None:
    queues = (await admin.ListQueues(pb.ListQueuesRequest())).queues

    assert [of.queue for of in queues] == ["default", "other", "small"]
    assert [of.max_size for of in queues] == [1_000_000, 1_000_000, 3]
    assert [of.max_size_per_tenant for of in queues] == [1_000_000, 1_000_000, 2]
    assert [of.max_attempts for of in queues] == [2, 5, 5]
    assert [of.attempt_timeout.seconds for of in queues] == [1_800] * 3
    assert queues[0].stats == pb.QueueStats()
    assert queues[0].own == pb.TenantStats()


async def test_a_queue_says_how_it_keeps_finished_jobs(start: Start, tmp_path: Path) -> None:
    (tmp_path / "kept.yaml").write_text("queues: {default: {}, brief: {retention: 2m, max_finished: 7}}")
    async with (
        start(queues_file=str(tmp_path / "kept.yaml"), retention_s=500) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.api}") as channel,
    ):
        stub: Any = AdminServiceStub(channel)
        queues = (await stub.ListQueues(pb.ListQueuesRequest())).queues
    assert [(of.queue, of.retention.seconds) for of in queues] == [("brief", 120), ("default", 500)]


async def test_jobs_are_counted_by_state_and_level(admin: AdminServiceAsyncStub, scheduler: Scheduler) -> None:
    for level, tenant in ((5, "a"), (5, "b"), (2, "b")):
        await scheduler.submit(level=level, tenant=tenant)
    await scheduler.submit(tenant="b", delay=Duration(seconds=100))
    for tenant in ("a", "b", "b"):
        await scheduler.submit(queue="other", tenant=tenant)
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=2, queues=[("other", 1)])
        jobs = await worker.jobs(2)
        of_a = [job for job in jobs if "/a/" in job.job]
        await worker.finish(*of_a, outcome=partial(failed, job_pb2.FAILURE_CATEGORY_PERMANENT))

        default, other = await queue(admin, tenant="b"), await queue(admin, "other", tenant="a")

    stats = default.stats
    assert (stats.waiting, stats.ready, stats.scheduled, stats.leased, stats.dead) == (4, 3, 1, 0, 0)
    assert [(level.level, level.ready) for level in stats.levels] == [(2, 1), (5, 2)]
    assert stats.tenants == 2
    assert 0 < stats.oldest_ready.ToMicroseconds() < 60_000_000
    assert (default.own.waiting, default.own.dead) == (3, 0)
    stats = other.stats
    assert (stats.waiting, stats.leased, stats.dead) == (1, 1, 1)
    assert (other.own.waiting, other.own.dead) == (0, 1)


async def test_counters_that_another_release_let_drift_are_never_below_0(
    admin: AdminServiceAsyncStub, scheduler: Scheduler, redis: Redis
) -> None:
    await scheduler.submit()
    await redis.hset("{hw:0}:q:default:counts", mapping={"ready:3": "-5", "ready:5": "1"})
    stats = (await queue(admin)).stats
    assert (stats.ready, stats.scheduled) == (1, 0)
    assert [(level.level, level.ready) for level in stats.levels] == [(5, 1)]


async def test_a_replica_with_free_slots_is_counted(admin: AdminServiceAsyncStub, scheduler: Scheduler) -> None:
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(credit=1)

        async def waits() -> bool:
            return (await queue(admin)).stats.waiting_replicas == 1

        await wait_until(waits)


async def test_an_unknown_queue_is_not_found(admin: AdminServiceAsyncStub) -> None:
    assert (await refusal(queue(admin, "nope"))).reason is Reason.QUEUE_NOT_FOUND
    nameless = await refusal(queue(admin, ""))
    assert nameless.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in nameless.violations] == ["queue"]


async def test_workers_of_an_unknown_queue_are_not_found(admin: AdminServiceAsyncStub) -> None:
    error = await refusal(admin.ListWorkers(pb.ListWorkersRequest(queue="nope")))
    assert error.reason is Reason.QUEUE_NOT_FOUND
