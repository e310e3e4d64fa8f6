"""A scheduler replica without its transport: `JobStore` with an injected clock, and short words for what tests do."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from headworks_core.cells import Meta
from headworks_core.names import parse_job
from headworks_scheduler.domain.jobs import (
    Beat,
    Claimed,
    Completion,
    FailedAttempt,
    Held,
    NewJob,
    Queue,
    Release,
    State,
)
from headworks_scheduler.store.jobs import JobStore, StoreOptions
from redis.asyncio import Redis

from tests.integration.scheduler_store.contents import stored

START_US = 1_763_800_000_123_457  # 16 digits, as real times have
QUEUE = Queue("default")
SECOND = 1_000_000
OPTIONS: dict[str, Any] = {
    "lease_us": 30 * SECOND,
    "delivery_us": 5 * SECOND,
    "retention_us": 3_600 * SECOND,
    "lost_max": 2,
    "poison": b"poison",
    "expired": b"expired",
}


class Clock:
    """The time of all replicas of a test."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us

    def advance(self, us: int) -> None:
        """Let time pass; a negative number turns it back."""
        self.now_us += us


Heard = list[tuple[str, str]]
Hear = Callable[..., AbstractAsyncContextManager[Callable[[], Awaitable[Heard]]]]
"""`async with hear(channel, ...) as heard`: `await heard()` gives what was published there since the last time."""


@asynccontextmanager
async def listening(redis: Redis, *channels: str) -> AsyncIterator[Callable[[], Awaitable[Heard]]]:
    """See `Hear`. The server delivers to one connection in the order of publishing, so a last message ends it."""
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe("end", *channels)

    async def heard() -> Heard:
        messages: Heard = []
        await redis.publish("end", "")
        while True:
            message = await pubsub.get_message(timeout=5)
            if message is not None and message["channel"] == b"end":
                return messages
            if message is not None:
                messages.append((message["channel"].decode(), message["data"].decode()))

    try:
        yield heard
    finally:
        await pubsub.aclose()  # type: ignore[no-untyped-call]


class Driver:
    """One replica; the methods answer for the first cell unless they are told another."""

    def __init__(
        self, redis: Redis, clock: Clock, *, replica: str = "one", meta: Meta | None = None, **options: Any
    ) -> None:
        self.redis = redis
        self.clock = clock
        self.meta = meta or Meta()
        self.replica = replica
        self.store = JobStore(redis, self.meta, StoreOptions(replica, **(OPTIONS | options)), now_us=clock)

    async def submit(self, tail: str = "", *, queue: Queue = QUEUE, tenant: str = "ann", **fields: Any) -> str:
        """Submit one job, which must be accepted; its ref."""
        job = new_job(tail, queue=queue, tenant=tenant, **fields)
        assert await self.store.submit([job]) == [0]
        return ref_of(job)

    async def claim(self, count: int = 1, *, queue: Queue = QUEUE, worker: str = "w") -> list[Claimed]:
        """The next jobs for one worker."""
        return await self.store.claim(queue, [(worker, count)])

    async def claim_one(self, *, queue: Queue = QUEUE) -> Held:
        """The next job, of which there must be one, as its lease."""
        (job,) = await self.claim(queue=queue)
        return lease_of(job)

    async def heartbeat(self, lease: Held) -> Beat:
        """Renew one lease."""
        (beat,) = await self.store.heartbeat(0, [lease])
        return beat

    async def complete(self, lease: Held, *, cell: int = 0) -> bool:
        """The handler of one job returned."""
        (recorded,) = await self.store.complete(cell, [completion(lease)])
        return recorded

    async def fail(self, lease: Held, **fields: Any) -> bool:
        """The handler of one job failed."""
        (recorded,) = await self.store.fail(0, [failed(lease, **fields)])
        return recorded

    async def release(self, lease: Held, delay_us: int = 0) -> bool:
        """One job is given back."""
        (recorded,) = await self.store.release(0, [Release(lease.ref, lease.lease_id, delay_us)])
        return recorded

    async def lose(self, lease: Held) -> None:
        """Let a lease end that a worker had confirmed, and reap it."""
        assert await self.heartbeat(lease) is not Beat.LOST
        self.clock.advance(30 * SECOND)
        assert (await self.store.reap(0)).lost == 1

    async def fields(self, ref: str) -> dict[str, str]:
        """A job's stored fields."""
        (fields,) = await self.store.read(0, [ref])
        assert fields is not None
        return {name: value.decode() for name, value in fields.items()}

    async def state(self, ref: str) -> State:
        """A job's state."""
        return State(int((await self.fields(ref))["state"]))

    async def numbers(self, ref: str, *names: str) -> list[int]:
        """Some of a job's numbers, 0 for those that it does not have."""
        fields = await self.fields(ref)
        return [int(fields.get(name, 0)) for name in names]

    async def events(self, ref: str) -> list[str]:
        """The types of a job's events."""
        return [event[b"type"].decode() for event in await self.outbox() if event[b"job"] == ref.encode()]

    async def outbox(self) -> list[dict[bytes, bytes]]:
        """All events."""
        events: list[dict[bytes, bytes]] = (await stored(self.redis)).get("{hw:0}:outbox", [])
        return events


def new_job(tail: str = "", *, queue: Queue = QUEUE, tenant: str = "ann", **fields: Any) -> NewJob:
    """A submission; with a `tail` its id is the caller's."""
    fields = {"spec": b"spec", "task": "task"} | fields
    return NewJob(queue, tenant, tail or str(uuid.uuid4()), not tail, **fields)


def new_jobs(count: int, **fields: Any) -> list[NewJob]:
    """So many submissions that are alike."""
    return [new_job(**fields) for _ in range(count)]


def ref_of(job: NewJob | Claimed) -> str:
    """As the store knows it."""
    if isinstance(job, Claimed):
        tail = job.name.rpartition("/")[2].partition("-")[2]
        _, tenant, _, queue, _, _ = job.name.split("/")
        return f"{tenant}/{queue}/{tail}"
    return f"{job.tenant}/{job.queue.name}/{job.tail}"


def lease_of(job: Claimed) -> Held:
    """The lease of a job that was just claimed."""
    return Held(ref_of(job), job.lease_id)


def completion(lease: Held, result: bytes = b"{}") -> Completion:
    """What a worker says whose handler returned."""
    return Completion(lease.ref, lease.lease_id, result, "application/json")


def failed(lease: Held, *, retryable: bool = True, retry_after_us: int = -1, luck_milli: int = 0) -> FailedAttempt:
    """What a worker says whose handler failed."""
    return FailedAttempt(lease.ref, lease.lease_id, b"failure", b"short", retryable, retry_after_us, luck_milli)


def cells_of(jobs: Sequence[Claimed]) -> set[int]:
    """The cells that the names of jobs say."""
    return {parse_job(job.name).cell for job in jobs}
