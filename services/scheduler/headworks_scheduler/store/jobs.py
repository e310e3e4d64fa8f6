"""Jobs in Redis. Every method is one script call a cell; keys and fields are in docs/redis.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from headworks_core.cells import Meta
from headworks_core.measures import Tally
from headworks_core.scripts import Argument, Script, load
from headworks_core.store import store_errors
from redis.asyncio import Redis

from headworks_scheduler.domain.jobs import (
    Beat,
    CancelOutcome,
    Claimed,
    Completion,
    FailedAttempt,
    Held,
    NewJob,
    Queue,
    Release,
    Submitted,
)

BATCH_MAX = 500
_SUBMITTED = tuple(Submitted)
_BEATS = tuple(Beat)
SCRIPTS = ("submit", "claim", "heartbeat", "complete", "fail", "release", "reap", "due", "cancel", "read", "handover")


# What the numbers mean that the scripts answer with; 1 is LATE everywhere.
LATE = 1
COMPLETED = ("succeeded", "")
FAILED = ("retried", "", "dead", "cancelled")
RELEASED = ("released", "", "cancelled")


class _Ended(Protocol):
    @property
    def ref(self) -> str: ...


class Reaped(NamedTuple):
    """What one call of reap did."""

    ended: int
    undelivered: int
    lost: int
    poisoned: int
    cancelled: int
    repaired: int


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """What the scripts need to know besides the jobs."""

    replica: str
    lease_us: int = 30_000_000
    delivery_us: int = 5_000_000
    retention_us: int = 86_400_000_000
    finished_max: int = 1_000_000
    outbox_max: int = 1_000_000
    lost_max: int = 3
    queues: Sequence[Queue] = ()
    """Those with a retention or a maximum of finished jobs of their own."""
    poison: bytes = b""
    """Serialised Failure of a job that lost too many leases."""
    expired: bytes = b""
    """Serialised Failure of a job that expired."""


class JobStore:
    """The scheduler's transitions. Every method raises Unavailable or ResourceExhausted for a store that fails."""

    def __init__(
        self, redis: Redis, meta: Meta, options: StoreOptions, *, now_us: Callable[[], int] | None = None
    ) -> None:
        """`now_us` is for tests; without it the Redis server's clock decides."""
        self._redis = redis
        self._meta = meta
        self._options = options
        self._now_us = now_us
        self._events = "1" if meta.events == "kafka" else "0"
        self._scripts = {name: load("headworks_scheduler.store", name) for name in (*SCRIPTS, "forget")}

        self.submitted = Tally()
        """Submits by queue and outcome."""
        self.transitions = Tally()
        """Jobs by queue and what became of them here."""
        self.late = 0
        """Results of leases that were lost."""
        self._kept: list[list[Argument]] = [[] for _ in range(meta.cells)]
        for queue in options.queues:
            retention_us = queue.retention_us or options.retention_us
            self._kept[meta.cell_of(queue.name)] += [queue.name, retention_us, queue.max_finished]

    @property
    def cells(self) -> int:
        """How many cells the state lives in."""
        return self._meta.cells

    async def submit(self, jobs: Sequence[NewJob], *, traceparent: str = "") -> list[Submitted]:
        """Record jobs, at most 500 a cell; outcomes in their order. See submit.lua."""
        outcomes: list[Submitted] = [Submitted.CREATED] * len(jobs)
        for cell, indexes in self._by_cell(job.queue.name for job in jobs).items():
            args: list[Argument] = [self._options.outbox_max]
            order: list[int] = []
            for (tenant, _), group in _by_queue(jobs, indexes).items():
                queue = jobs[group[0]].queue
                args += [queue.name, tenant, queue.max_size, queue.max_size_per_tenant, len(group)]
                for index in group:
                    args += _submission(jobs[index])
                order += group
            reply = await self._call("submit", cell, args, traceparent)
            for index, code in zip(order, reply, strict=True):
                outcomes[index] = _SUBMITTED[code]
                self.submitted[jobs[index].queue.name, outcomes[index].name.lower()] += 1
        return outcomes

    async def claim(self, queue: Queue, workers: Sequence[tuple[str, int]], *, traceparent: str = "") -> list[Claimed]:
        """Lease the next jobs of a queue, so many for each worker in turn. Got fewer: this replica waits now."""
        cell = self._meta.cell_of(queue.name)
        weights = ""
        if queue.tenant_weights or queue.lane_weights:
            weights = json.dumps({"tenants": dict(queue.tenant_weights), "lanes": dict(queue.lane_weights)})
        options = self._options
        args: list[Argument] = [queue.name, options.delivery_us, options.replica, cell, weights]
        args += [self._events, options.expired]
        for worker, wanted in workers:
            args += [worker, wanted]
        reply = await self._call("claim", cell, args, traceparent)
        self.transitions[queue.name, "claimed"] += len(reply) // 6
        return [
            Claimed(name.decode(), int(lease_id), int(attempt), spec, trace.decode(), int(policy.partition(b":")[0]))
            for name, lease_id, attempt, spec, trace, policy in zip(*[iter(reply)] * 6, strict=True)
        ]

    async def heartbeat(self, cell: int, held: Sequence[Held]) -> list[Beat]:
        """Renew leases, at most 500."""
        args: list[Argument] = [self._options.lease_us, self._options.replica]
        for lease in held:
            args += [lease.ref, lease.lease_id, lease.progress]
        return [_BEATS[code] for code in await self._call("heartbeat", cell, args)]

    async def complete(self, cell: int, items: Sequence[Completion], *, traceparent: str = "") -> list[bool]:
        """Handlers returned; at most 500. False: the lease was lost and nothing changed."""
        args: list[Argument] = [self._events]
        for item in items:
            args += [item.ref, item.lease_id, item.result, item.content_type, item.traceparent]
        return self._count(items, await self._call("complete", cell, args, traceparent), COMPLETED)

    async def fail(self, cell: int, items: Sequence[FailedAttempt], *, traceparent: str = "") -> list[bool]:
        """Handlers failed; at most 500. False: the lease was lost and nothing changed."""
        args: list[Argument] = [self._events]
        for item in items:
            args += [item.ref, item.lease_id, item.failure, item.event_failure, 1 if item.retryable else 0]
            args += [item.retry_after_us, item.luck_milli, item.traceparent]
        return self._count(items, await self._call("fail", cell, args, traceparent), FAILED)

    async def release(self, cell: int, items: Sequence[Release], *, traceparent: str = "") -> list[bool]:
        """Workers give jobs back; at most 500. False: the lease was lost and nothing changed."""
        args: list[Argument] = [self._events]
        for item in items:
            args += [item.ref, item.lease_id, item.delay_us, item.traceparent]
        return self._count(items, await self._call("release", cell, args, traceparent), RELEASED)

    async def ping(self) -> None:
        """Whether the store answers. Raises Unavailable."""
        with store_errors():
            await self._redis.ping()

    async def reap(self, cell: int, *, limit: int = BATCH_MAX) -> Reaped:
        """Take the jobs of ended leases from their workers."""
        options = self._options
        args: list[Argument] = [self._events, options.lost_max, options.poison, limit]
        return Reaped(*await self._call("reap", cell, args))

    async def due(self, cell: int, *, limit: int = BATCH_MAX) -> tuple[int, int]:
        """Handle timers whose time has come; (how many, microseconds until the next one or -1)."""
        args: list[Argument] = [self._events, self._options.expired, limit]
        handled, next_us = await self._call("due", cell, args)
        return handled, next_us

    async def forget(self, cell: int, *, limit: int = BATCH_MAX) -> int:
        """Delete finished jobs whose time is over, and those that are too many; how many."""
        args: list[Argument] = [self._options.finished_max, limit, self._options.retention_us, *self._kept[cell]]
        deleted: int = await self._call("forget", cell, args)
        return deleted

    async def cancel(self, cell: int, ref: str, *, traceparent: str = "") -> tuple[CancelOutcome, int]:
        """End a job or ask its worker to; with the microseconds until the lease ends, if one is held."""
        args: list[Argument] = [self._events, ref, traceparent]
        code, remaining_us = await self._call("cancel", cell, args, traceparent)
        if code == CancelOutcome.CANCELLED.value:
            self.transitions[_queue_of(ref), "cancelled"] += 1
        return CancelOutcome(code), remaining_us

    async def read(
        self, cell: int, refs: Sequence[str], *, watch: bool = False, traceparent: str = ""
    ) -> list[dict[str, bytes] | None]:
        """The stored fields of jobs, at most 500; None for one that does not exist. `watch`: hear of their changes."""
        args: list[Argument] = [self._options.replica if watch else "", *refs]
        reply = await self._call("read", cell, args, traceparent)
        return [_fields(flat) if flat else None for flat in reply]

    async def handover(self, queue: str) -> None:
        """This replica was woken for `queue` and has no room: let another one have the work."""
        await self._call("handover", self._meta.cell_of(queue), [queue])

    def _call(self, name: str, cell: int, args: list[Argument], traceparent: str = "") -> Awaitable[Any]:
        script: Script = self._scripts[name]
        now_us: Argument = "" if self._now_us is None else self._now_us()
        return script(self._redis, [self._meta.prefix(cell)], [now_us, *args], traceparent=traceparent)

    def _count(self, items: Sequence[_Ended], codes: Sequence[int], outcomes: Sequence[str]) -> list[bool]:
        """Whether each lease was valid. The queue of one that was not may be an invention of its worker."""
        queues = [_queue_of(item.ref) for item in items]
        for (queue, code), count in Counter(zip(queues, codes, strict=True)).items():
            if code == LATE:
                self.late += count
            else:
                self.transitions[queue, outcomes[code]] += count
        return [code != LATE for code in codes]

    def _by_cell(self, queues: Iterable[str]) -> dict[int, list[int]]:
        cells: dict[int, list[int]] = {}
        for index, queue in enumerate(queues):
            cells.setdefault(self._meta.cell_of(queue), []).append(index)
        return cells


def _queue_of(ref: str) -> str:
    return ref.split("/", 2)[1]


def _by_queue(jobs: Sequence[NewJob], indexes: Sequence[int]) -> dict[tuple[str, str], list[int]]:
    groups: dict[tuple[str, str], list[int]] = {}
    for index in indexes:
        groups.setdefault((jobs[index].tenant, jobs[index].queue.name), []).append(index)
    return groups


def _submission(job: NewJob) -> list[Argument]:
    fresh = "1" if job.fresh else "0"
    policy = f"{job.timeout_us}:{job.retry}"
    head: list[Argument] = [job.tail, fresh, job.spec, job.task, job.level, job.lane, job.traceparent]
    return [*head, job.delay_us, job.expire_us, policy]


def _fields(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
