"""What operators ask about queues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from headworks.scheduler.v1 import admin_service_pb2 as pb
from headworks.scheduler.v1.admin_service_pb2_grpc import AdminServiceStub
from headworks_core.errors import Reason

from tests.integration.scheduler.conftest import Scheduler
from tests.integration.scheduler.test_api import refusal

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


async def test_an_unknown_queue_is_not_found(admin: AdminServiceAsyncStub) -> None:
    assert (await refusal(queue(admin, "nope"))).reason is Reason.QUEUE_NOT_FOUND
    nameless = await refusal(queue(admin, ""))
    assert nameless.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in nameless.violations] == ["queue"]


async def test_workers_of_an_unknown_queue_are_not_found(admin: AdminServiceAsyncStub) -> None:
    error = await refusal(admin.ListWorkers(pb.ListWorkersRequest(queue="nope")))
    assert error.reason is Reason.QUEUE_NOT_FOUND
