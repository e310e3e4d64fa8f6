"""Queues and workers as operators see them: frozen copies of the protos, durations in seconds."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.duration_pb2 import Duration
from headworks.scheduler.v1 import admin_service_pb2 as pb

from headworks_client.durations import to_seconds
from headworks_client.snapshots import to_time


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """A queue at one moment: its settings, what all tenants have in it, and what the caller's tenant has."""

    queue: str
    waiting: int
    """Jobs SCHEDULED or READY."""
    ready: int
    scheduled: int
    leased: int
    dead: int
    """Dead letters kept."""
    ready_by_level: dict[int, int]
    """Only levels that have some, most urgent first."""
    tenants: int
    """Tenants with READY jobs."""
    oldest_ready_s: float | None
    """How long the oldest of the lanes' first jobs has been waiting; None when none is READY."""
    waiting_replicas: int
    """Replicas that have free slots and no work for them."""
    own_waiting: int
    own_dead: int
    max_size: int
    max_size_per_tenant: int
    max_attempts: int
    attempt_timeout_s: float | None
    retention_s: float

    @classmethod
    def from_proto(cls, queue: pb.Queue) -> QueueSnapshot:
        """The queue as the scheduler described it."""
        stats = queue.stats
        return cls(
            queue=queue.queue,
            waiting=stats.waiting,
            ready=stats.ready,
            scheduled=stats.scheduled,
            leased=stats.leased,
            dead=stats.dead,
            ready_by_level={level.level: level.ready for level in stats.levels},
            tenants=stats.tenants,
            oldest_ready_s=_seconds(stats.oldest_ready, present=stats.HasField("oldest_ready")),
            waiting_replicas=stats.waiting_replicas,
            own_waiting=queue.own.waiting,
            own_dead=queue.own.dead,
            max_size=queue.max_size,
            max_size_per_tenant=queue.max_size_per_tenant,
            max_attempts=queue.max_attempts,
            attempt_timeout_s=_seconds(queue.attempt_timeout, present=queue.HasField("attempt_timeout")),
            retention_s=to_seconds(queue.retention),
        )


class WorkerState(StrEnum):
    """How a worker is, as far as the schedulers know."""

    ACTIVE = "ACTIVE"
    DRAINING = "DRAINING"
    """It takes no more work and finishes what it holds."""
    GONE = "GONE"
    """Its session ended in order."""
    LOST = "LOST"
    """Its session broke off and nobody has heard of it since."""
    UNKNOWN = "UNKNOWN"
    """A state that this version of the client does not know."""


_WORKER_STATES = {
    value.number: WorkerState(value.name.removeprefix("WORKER_STATE_"))
    for value in pb.WorkerState.DESCRIPTOR.values
    if value.number
}


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """A worker when a replica last heard of it."""

    worker: str
    state: WorkerState
    replica: str
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    slots: int
    held: int
    """Leases it held."""
    succeeded: int
    """Handlers of this session that returned."""
    failed: int
    released: int
    """Jobs of this session that it gave back."""
    attach_time: datetime.datetime | None
    silent_s: float
    """How long ago a replica last heard of it; exact to some seconds."""

    @classmethod
    def from_proto(cls, worker: pb.Worker) -> WorkerSnapshot:
        """The worker as the scheduler described it."""
        return cls(
            worker=worker.worker,
            state=_WORKER_STATES.get(worker.state, WorkerState.UNKNOWN),
            replica=worker.replica,
            queues=tuple(worker.queues),
            tasks=tuple(worker.tasks),
            slots=worker.slots,
            held=worker.held,
            succeeded=worker.succeeded,
            failed=worker.failed,
            released=worker.released,
            attach_time=to_time(worker.attach_time),
            silent_s=to_seconds(worker.silent),
        )


def _seconds(duration: Duration, *, present: bool) -> float | None:
    return to_seconds(duration) if present else None
