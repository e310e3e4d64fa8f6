"""A scheduler in this process, on a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from headworks_scheduler.app import scheduler_app
from headworks_scheduler.settings import Settings
from redis.asyncio import Redis

if TYPE_CHECKING:
    from headworks.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceAsyncStub

QUEUES = """
queues:
  default: {retry: {max_attempts: 2, initial_backoff: 10ms, jitter: 0}}
  other: {}
  small: {max_size: 3, max_size_per_tenant: 2}
"""


@dataclass
class Scheduler:
    """A running replica, and a caller of its API."""

    api: int
    worker: int
    stub: SchedulerServiceAsyncStub
    monitor: str = ""
    """Address of /metrics."""

    async def submit(self, task: str = "t", *, queue: str = "default", tenant: str = "", **spec: Any) -> str:
        """Submit one job; its name."""
        job = pb.JobSubmission(spec=job_pb2.JobSpec(task=task, **spec))
        response = await self.stub.SubmitJob(pb.SubmitJobRequest(queue=queue, job=job), metadata=_metadata(tenant))
        return response.name

    async def get(self, name: str, *, tenant: str = "") -> job_pb2.Job:
        """Read a job."""
        response = await self.stub.GetJob(pb.GetJobRequest(name=name), metadata=_metadata(tenant))
        return response.job

    async def health(self, service: str) -> str:
        """What the API's health service says of `service`."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.api}") as channel:
            stub: Any = HealthStub(channel)
            response = await stub.Check(HealthCheckRequest(service=service), timeout=5)
        return HealthCheckResponse.ServingStatus.Name(response.status)

    async def until(self, name: str, state: job_pb2.JobState) -> job_pb2.Job:
        """Watch a job until it is in `state`."""
        call = self.stub.WatchJobs(pb.WatchJobsRequest(names=[name]), timeout=10)
        try:
            async for response in call:
                for job in response.jobs:
                    if job.state == state:
                        return job
        finally:
            call.cancel()
        raise AssertionError(f"{name} ended before it was {job_pb2.JobState.Name(state)}")


def _metadata(tenant: str) -> list[tuple[str, str]]:
    return [("headworks-tenant", tenant)] if tenant else []


Start = Callable[..., AbstractAsyncContextManager[Scheduler]]


@pytest.fixture
def start(redis: Redis, valkey_url: str, tmp_path: Path) -> Start:
    """Starts replicas on one empty Valkey; keyword arguments are settings."""
    queues = tmp_path / "queues.yaml"
    queues.write_text(QUEUES)

    @asynccontextmanager
    async def started(**settings: Any) -> AsyncIterator[Scheduler]:
        chosen: dict[str, Any] = {
            "address": "127.0.0.1:0",
            "worker_address": "127.0.0.1:0",
            "redis_url": valkey_url,
            "events": "none",
            "queues_file": str(queues),
            "shutdown_grace_s": 2,
            "reconnect_grace_s": 0.1,
            **settings,
        }
        async with (
            scheduler_app(Settings(**chosen)) as ports,
            grpc.aio.insecure_channel(f"127.0.0.1:{ports.api}") as channel,
        ):
            stub: SchedulerServiceAsyncStub = SchedulerServiceStub(channel)
            yield Scheduler(ports.api, ports.worker, stub, ports.monitor)

    return started


@pytest.fixture
async def scheduler(start: Start) -> AsyncIterator[Scheduler]:
    """One replica."""
    async with start() as running:
        yield running
