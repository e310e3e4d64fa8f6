"""Bursts, a store that closed its connections, and a replica that goes away under its watchers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from grpc.aio import AioRpcError
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from headworks_core.errors import Reason
from headworks_core.grpc_errors import from_call
from redis.asyncio import Redis

from tests.integration.scheduler.conftest import Scheduler, Start

BURST = 3_500  # more than gRPC keeps waiting by default
SHUTDOWN_GRACE_S = 30


async def test_a_burst_of_thousands_of_calls_is_answered(scheduler: Scheduler) -> None:
    name = await scheduler.submit()

    jobs = await asyncio.gather(*(scheduler.get(name) for _ in range(BURST)))

    assert {job.name for job in jobs} == {name}


async def test_callers_do_not_notice_that_the_store_closed_idle_connections(scheduler: Scheduler, redis: Redis) -> None:
    name = await scheduler.submit()
    await asyncio.gather(*(scheduler.get(name) for _ in range(100)))

    killed = await redis.client_kill_filter(_type="normal", skipme=True)
    jobs = await asyncio.gather(*(scheduler.get(name) for _ in range(100)))

    assert killed > 1
    assert {job.name for job in jobs} == {name}


async def test_a_stopping_replica_sends_its_watchers_to_another_at_once(start: Start) -> None:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        async with start(shutdown_grace_s=SHUTDOWN_GRACE_S) as scheduler:
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{scheduler.api}"))
            name = await scheduler.submit()
            watch = SchedulerServiceStub(channel).WatchJobs(pb.WatchJobsRequest(names=[name]))
            first = await watch.read()
            began = loop.time()
        stopped_s = loop.time() - began

        assert isinstance(first, pb.WatchJobsResponse)
        assert [job.name for job in first.jobs] == [name]
        with pytest.raises(AioRpcError) as caught:
            await watch.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert from_call(caught.value).reason is Reason.SHUTTING_DOWN
        assert stopped_s < SHUTDOWN_GRACE_S / 2
