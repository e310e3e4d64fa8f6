"""Streams that callers open and abandon leave nothing behind: memory stays level over 10,000 of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from headworks.limiter.v1 import limiter_pb2 as limits
from headworks.limiter.v1 import limiter_service_pb2 as limiter
from headworks.limiter.v1.limiter_service_pb2_grpc import LimiterServiceStub
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as scheduler
from headworks.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from headworks.worker.v1 import session_pb2 as session
from headworks.worker.v1.worker_service_pb2_grpc import WorkerServiceStub
from headworks_devkit.backends import RedisBackend
from headworks_devkit.processes import Child
from redis.asyncio import Redis

from tests.support.memory import resident_mb
from tests.support.suite import Suite, running_suite
from tests.support.wait import wait_until

STREAMS = 10_000
WARM_UP = 3_000
AT_ONCE = 100
PER_CHANNEL = 500
GROWTH_MB = 15.0
"""What 10,000 streams may leave: 1.5 KB each. One leaked stream of grpc.aio is about 10 KB."""
RULES = 'namespaces: {api: {rules: [{name: all, match: {k: "*"}, limit: 1000000, per: 1s}]}}'

Open = Callable[[grpc.aio.Channel], Awaitable[Any]]


async def abandon(target: str, open_stream: Open, count: int) -> None:
    """Open `count` streams, hear the first answer of each, and cancel it; every 500 the connection is dropped too."""
    for _ in range(count // PER_CHANNEL):
        async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            for _ in range(PER_CHANNEL // AT_ONCE):
                calls = await asyncio.gather(*(open_stream(channel) for _ in range(AT_ONCE)))
                for call in calls[: AT_ONCE // 2]:
                    call.cancel()
                # the rest go with their connection


async def grown_mb(process: Child, target: str, open_stream: Open) -> float:
    """How much larger the process is after STREAMS abandoned streams than after WARM_UP of them."""
    await abandon(target, open_stream, WARM_UP)
    before = resident_mb(process.pid)
    await abandon(target, open_stream, STREAMS)
    return resident_mb(process.pid) - before


@asynccontextmanager
async def without_events(valkey_url: str, folder: Path) -> AsyncIterator[Suite]:
    """A suite that needs no Kafka."""
    async with running_suite(RedisBackend(valkey_url, "valkey"), None, folder) as suite:
        yield suite


async def first_of(call: Any, *requests: Any) -> Any:
    """Say something, hear the answer, and leave the stream open."""
    for request in requests:
        await call.write(request)
    assert await call.read() is not grpc.aio.EOF
    return call


@pytest.mark.timeout(300)
async def test_abandoned_sessions(redis: Redis, valkey_url: str, tmp_path: Path) -> None:
    async with without_events(valkey_url, tmp_path) as suite:
        process = await suite.scheduler()
        attach = session.Attach(protocol=1, worker="w", queues=[session.QueueSubscription(queue="default")], slots=1)

        async def open_stream(channel: grpc.aio.Channel) -> Any:
            return await first_of(WorkerServiceStub(channel).Session(), session.SessionRequest(attach=attach))

        assert await grown_mb(process, suite.worker_target, open_stream) < GROWTH_MB


@pytest.mark.timeout(300)
async def test_abandoned_watches(redis: Redis, valkey_url: str, tmp_path: Path) -> None:
    async with without_events(valkey_url, tmp_path) as suite:
        process = await suite.scheduler()
        async with grpc.aio.insecure_channel(suite.api) as channel:
            job = scheduler.JobSubmission(spec=job_pb2.JobSpec(task="t"))
            submitted = await SchedulerServiceStub(channel).SubmitJob(scheduler.SubmitJobRequest(job=job))
        watch = scheduler.WatchJobsRequest(names=[submitted.name])

        async def open_stream(channel: grpc.aio.Channel) -> Any:
            return await first_of(SchedulerServiceStub(channel).WatchJobs(watch))

        assert await grown_mb(process, suite.api, open_stream) < GROWTH_MB


@pytest.mark.timeout(300)
async def test_abandoned_consume_streams(redis: Redis, valkey_url: str, tmp_path: Path) -> None:
    async with without_events(valkey_url, tmp_path) as suite:
        process = await suite.limiter(rules=RULES)
        asked = [limits.PermitRequest(namespace="api", descriptors={"k": "v"})]

        async def open_stream(channel: grpc.aio.Channel) -> Any:
            request = limiter.ConsumeStreamRequest(id=1, requests=asked)
            return await first_of(LimiterServiceStub(channel).ConsumeStream(), request)

        assert await grown_mb(process, suite.limits, open_stream) < GROWTH_MB


@pytest.mark.timeout(300)
async def test_abandoned_calls(redis: Redis, valkey_url: str, tmp_path: Path) -> None:
    async with without_events(valkey_url, tmp_path) as suite:
        process = await suite.limiter(rules=RULES)
        request = limiter.ConsumeRequest(request=limits.PermitRequest(namespace="api", descriptors={"k": "v"}))

        async def open_call(channel: grpc.aio.Channel) -> Any:
            call = LimiterServiceStub(channel).Consume(request)
            await call.wait_for_connection()
            return call

        assert await grown_mb(process, suite.limits, open_call) < GROWTH_MB
        async with grpc.aio.insecure_channel(suite.limits) as channel:
            await wait_until(lambda: _answers(channel, request))


async def _answers(channel: grpc.aio.Channel, request: limiter.ConsumeRequest) -> bool:
    reply = await LimiterServiceStub(channel).Consume(request, timeout=10)
    return bool(reply.decision.allowed)
