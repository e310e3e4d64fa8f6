"""The composition root of the worker: the one place that knows all its parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from headworks_client.limiter import LimiterClient
from headworks_client.scheduler import SchedulerClient
from headworks_core.metrics import Metrics
from headworks_core.monitor import monitoring
from headworks_core.serving import grpc_server

from headworks_worker.readiness import Readiness
from headworks_worker.registry import load
from headworks_worker.settings import Settings, parse_queues
from headworks_worker.telemetry import add_metrics
from headworks_worker.worker import Worker

log = structlog.get_logger(__name__)


@asynccontextmanager
async def worker_app(settings: Settings) -> AsyncIterator[int | None]:
    """A running worker; yields the port of its health service, None without one. Raises RegistrationError."""
    tasks = load(name.strip() for name in settings.tasks.split(",") if name.strip())
    readiness = Readiness()
    async with AsyncExitStack() as stack:
        limiter = await stack.enter_async_context(LimiterClient(settings.limiter, tenant=settings.tenant))
        await stack.enter_async_context(SchedulerClient(settings.api, tenant=settings.tenant))
        port = await _serve_health(stack, settings, readiness) if settings.health_address else None
        worker = Worker(
            tasks,
            scheduler=settings.scheduler,
            queues=parse_queues(settings.queues),
            strict_order=settings.queue_order == "strict",
            slots=settings.slots,
            name=settings.worker_id,
            limiter=limiter,
            shutdown_grace_s=settings.shutdown_grace_s,
            on_ready=readiness.set,
        )
        await stack.enter_async_context(worker)
        metrics = Metrics("headworks-worker", settings.worker_id)
        add_metrics(metrics, worker)
        await stack.enter_async_context(monitoring(settings.metrics_address, metrics, lambda: readiness.faults))
        log.info("worker.started", worker=settings.worker_id, tasks=[task.name for task in tasks], slots=settings.slots)
        yield port


async def _serve_health(stack: AsyncExitStack, settings: Settings, readiness: Readiness) -> int:
    port, health = await stack.enter_async_context(grpc_server([], address=settings.health_address, grace_s=1.0))
    told = asyncio.ensure_future(readiness.tell(health))
    stack.callback(told.cancel)
    return port
