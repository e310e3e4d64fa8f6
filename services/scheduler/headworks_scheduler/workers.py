"""Who works here: each replica tells the store of its sessions, and any replica tells people.

A session's beginning and end are told at once, what is between them every REPORTS-th of the time after which a silent
replica's workers count as lost: one script call a replica and 500 workers, whatever the workers do meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

import structlog
from headworks.scheduler.v1 import admin_service_pb2 as pb
from headworks_core.cells import Meta
from headworks_core.errors import ServiceError
from headworks_core.loops import forever, running
from redis.asyncio import Redis

from headworks_scheduler.store.workers import Known, Report, WorkerStore

log = structlog.get_logger(__name__)

REPORTS = 3  # a replica that missed so many has lost its workers
RETRY_S = 1.0
FAREWELL_S = 1.0
WORKERS_KEPT_US = 3_600_000_000
WORKERS_MAX = 5_000
TASKS_BYTES = 2_000  # of a worker's names of tasks; for people
ACTIVE, DRAINING, GONE, LOST = (
    pb.WORKER_STATE_ACTIVE,
    pb.WORKER_STATE_DRAINING,
    pb.WORKER_STATE_GONE,
    pb.WORKER_STATE_LOST,
)


@dataclass(eq=False, slots=True)
class Presence:
    """A session, as far as people want to know of it. Its session keeps it up to date."""

    worker: str
    queues: Sequence[str]
    tasks: Sequence[str]
    slots: int
    held: Mapping[str, int]
    heard: float
    """When the worker last said something, by the loop's clock; so is `attached`."""
    attached: float = field(init=False)
    state: pb.WorkerState = ACTIVE
    succeeded: int = 0
    failed: int = 0
    released: int = 0

    def __post_init__(self) -> None:
        self.attached = self.heard

    def hello(self) -> bytes:
        """What does not change."""
        tasks, size = [], 0
        for task in self.tasks:
            size += len(task)
            if size > TASKS_BYTES:
                break
            tasks.append(task)
        return pb.Worker(queues=self.queues, tasks=tasks, slots=self.slots).SerializeToString()


class WorkerRegistry:
    """The workers of this replica on their way to the store, and those of all on their way back."""

    def __init__(self, store: WorkerStore, replica: str, *, period_s: float) -> None:
        """`period_s` is that of every replica."""
        self._store = store
        self._replica = replica
        self._period_s = period_s
        self._sessions: dict[Presence, str] = {}
        """Sessions that stand, each with an id that no other has."""
        self._unknown: set[Presence] = set()
        """Of these, those that the store has not heard of."""
        self._urgent: dict[Presence, str] = {}
        """What should be told now, ended sessions too."""
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._count = self._loop.time()

    @property
    def sessions(self) -> Sequence[Presence]:
        """Those that stand."""
        return list(self._sessions)

    def attached(self, presence: Presence) -> None:
        """A session begins."""
        self._count += 1e-6
        self._sessions[presence] = f"{self._replica}/{self._count:.6f}"
        self._unknown.add(presence)
        self.changed(presence)

    def ended(self, presence: Presence, state: pb.WorkerState) -> None:
        """A session has ended: GONE or LOST."""
        presence.state = state
        self.changed(presence)
        del self._sessions[presence]

    def changed(self, presence: Presence) -> None:
        """Tell it soon."""
        self._urgent[presence] = self._sessions[presence]
        self._changed.set()

    async def run(self) -> None:
        """Report until cancelled."""
        full_at = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(full_at):
                    await self._changed.wait()
            full = self._loop.time() >= full_at
            if full:
                full_at = self._loop.time() + self._period_s
            try:
                await self.report(full=full)
            except ServiceError as error:
                log.warning("workers.not_told", sessions=len(self._sessions), error=str(error))
                await asyncio.sleep(min(RETRY_S, self._period_s))

    async def farewell(self) -> None:
        """Tell of the last sessions, if the store answers."""
        with suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self.report()

    async def report(self, *, full: bool = False) -> None:
        """Tell what is urgent, or everything. Raises Unavailable or ResourceExhausted: it is told the next time."""
        self._changed.clear()
        urgent, self._urgent = self._urgent, {}
        told = {**urgent, **self._sessions} if full else urgent
        reports = [self._report(presence, session) for presence, session in told.items()]
        try:
            known = await self._store.report(reports)
        except BaseException:
            self._urgent = dict(list({**urgent, **self._urgent}.items())[-WORKERS_MAX:])
            self._changed.set()
            raise
        for presence, report, is_known in zip(told, reports, known, strict=True):
            if report.kind != "more":
                self._unknown.discard(presence)
            elif not is_known and presence in self._sessions:
                self._unknown.add(presence)

    def _report(self, presence: Presence, session: str) -> Report:
        stands = presence in self._sessions
        kind = "more"
        if presence in self._unknown:
            kind = "new" if stands else "again"
        now = self._loop.time()
        return Report(
            kind,
            presence.worker,
            session,
            presence.state,
            b"" if kind == "more" else presence.hello(),
            round((now - presence.attached) * 1e6),
            round((now - presence.heard) * 1e6),
            len(presence.held) if stands else 0,
            presence.succeeded,
            presence.failed,
            presence.released,
        )

    async def list_workers(self, queue: str, *, live_only: bool) -> list[pb.Worker]:
        """The workers by id, of one queue or (empty) of all."""
        workers = [self._view(known) for known in await self._store.read()]
        return [
            worker
            for worker in workers
            if (not queue or queue in worker.queues) and (not live_only or worker.state in (ACTIVE, DRAINING))
        ]

    def _view(self, known: Known) -> pb.Worker:
        worker = pb.Worker.FromString(known.hello)
        worker.worker, worker.replica = known.worker, known.replica
        state = cast(pb.WorkerState, known.state)
        silent = known.told_us > REPORTS * self._period_s * 1e6
        worker.state = LOST if silent and state in (ACTIVE, DRAINING) else state
        worker.held, worker.succeeded, worker.failed, worker.released = (
            known.held,
            known.succeeded,
            known.failed,
            known.released,
        )
        worker.attach_time.FromMicroseconds(known.attached)
        worker.silent.FromMicroseconds(max(0, known.silent_us))
        return worker


@asynccontextmanager
async def worker_registry(redis: Redis, meta: Meta, replica: str, *, period_s: float) -> AsyncIterator[WorkerRegistry]:
    """A registry that reports every `period_s` while the block runs, and once more in the end."""
    store = WorkerStore(redis, meta, replica, keep_us=WORKERS_KEPT_US, workers_max=WORKERS_MAX)
    registry = WorkerRegistry(store, replica, period_s=period_s)
    try:
        async with running(forever(registry.run, name="workers")):
            yield registry
    finally:
        await registry.farewell()
