"""AdminService: what operators ask about queues and workers."""

from __future__ import annotations

from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from headworks.scheduler.v1 import admin_service_pb2 as pb
from headworks_core.context import CallContext
from headworks_core.errors import Violation, invalid

from headworks_scheduler.domain.jobs import Queue
from headworks_scheduler.queues import Queues
from headworks_scheduler.store.stats import QueueStats, StatsStore


class WorkerReader(Protocol):
    """Knows the workers."""

    async def list_workers(self, queue: str, *, live_only: bool) -> list[pb.Worker]:
        """The workers by id, of one queue or (empty) of all."""
        ...


class NoWorkers:
    """Knows of none."""

    async def list_workers(self, queue: str, *, live_only: bool) -> list[pb.Worker]:
        """None."""
        return []


class AdminServicer:
    """Queues with their statistics, and workers."""

    def __init__(self, queues: Queues, stats: StatsStore, workers: WorkerReader, *, retention_us: int) -> None:
        """`retention_us` is that of queues that do not say otherwise."""
        self._queues = queues
        self._stats = stats
        self._workers = workers
        self._retention_us = retention_us

    async def ListQueues(self, request: pb.ListQueuesRequest, caller: CallContext) -> pb.ListQueuesResponse:
        """See the proto."""
        return pb.ListQueuesResponse(queues=await self._read(self._queues.all(), caller))

    async def GetQueue(self, request: pb.GetQueueRequest, caller: CallContext) -> pb.GetQueueResponse:
        """See the proto."""
        if not request.queue:
            raise invalid([Violation("queue", "required: a queue's id")])
        (queue,) = await self._read([self._queues.get(request.queue)], caller)
        return pb.GetQueueResponse(queue=queue)

    async def ListWorkers(self, request: pb.ListWorkersRequest, caller: CallContext) -> pb.ListWorkersResponse:
        """See the proto."""
        if request.queue:
            self._queues.get(request.queue)
        workers = await self._workers.list_workers(request.queue, live_only=request.live_only)
        return pb.ListWorkersResponse(workers=workers)

    async def _read(self, queues: list[Queue], caller: CallContext) -> list[pb.Queue]:
        names = [queue.name for queue in queues]
        stats = await self._stats.read(names, caller.tenant, traceparent=caller.traceparent)
        return [self._view(queue, of_queue) for queue, of_queue in zip(queues, stats, strict=True)]

    def _view(self, queue: Queue, stats: QueueStats) -> pb.Queue:
        return pb.Queue(
            queue=queue.name,
            max_size=queue.max_size,
            max_size_per_tenant=queue.max_size_per_tenant,
            max_attempts=queue.retry.max_attempts,
            attempt_timeout=_duration(queue.attempt_timeout_us),
            retention=_duration(queue.retention_us or self._retention_us),
            stats=_stats_view(stats),
            own=pb.TenantStats(waiting=stats.own_waiting, dead=stats.own_dead),
        )


def _stats_view(stats: QueueStats) -> pb.QueueStats:
    levels = [max(0, n) for n in stats.ready]  # a release that does not count them may have taken some
    ready = sum(levels)
    view = pb.QueueStats(
        waiting=stats.waiting,
        ready=ready,
        scheduled=max(0, stats.waiting - ready),
        leased=stats.leased,
        dead=stats.dead,
        levels=[pb.LevelStats(level=level, ready=n) for level, n in enumerate(levels) if n],
        tenants=stats.tenants,
        waiting_replicas=stats.waiters,
    )
    if stats.oldest_us >= 0:
        view.oldest_ready.CopyFrom(_duration(stats.oldest_us))
    return view


def _duration(micros: int) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(micros)
    return duration
