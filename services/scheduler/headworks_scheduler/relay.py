"""The relay: takes events from each cell's outbox to the sink, and moves the cursor when they have arrived.

At least once, and the first delivery of each event in order per job: whoever relays a cell begins behind the cursor,
sends everything from there in order, and moves the cursor only to the end of an acknowledged prefix. After any failure
whose outcome is unknown it starts anew from the cursor. The guarantees are in docs/events.md, the reasons in
docs/adr/0006-outbox-relay.md.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from headworks_core.cells import Meta
from headworks_core.errors import ServiceError, Unavailable
from headworks_core.loops import forever
from redis.asyncio import Redis

from headworks_scheduler.domain.events import OutboxEntry
from headworks_scheduler.sinks import Refused, SinkUnavailable, Unsendable
from headworks_scheduler.store import outbox as store
from headworks_scheduler.store.outbox import Outbox, RelayLease

log = structlog.get_logger(__name__)


class Flight(Protocol):
    """Events on their way."""

    async def landed(self) -> None:
        """Return when all have arrived. Raises Refused, or SinkUnavailable: the outcome is unknown."""


class Session(Protocol):
    """A connection to the sink. Events of one job arrive in the order in which they were added."""

    async def add(self, entry: OutboxEntry, *, alone: bool = False) -> None:
        """Load an event; `alone`: a refusal must be about it and no other. Raises Unsendable or SinkUnavailable."""

    async def send(self) -> Flight:
        """Send what was loaded. Raises Refused, also for what was sent before, or SinkUnavailable."""


class Sink(Protocol):
    """Where events go."""

    def session(self, cell: int) -> AbstractAsyncContextManager[Session]:
        """Connect. Raises SinkUnavailable. Leaving takes a bounded time and gives up what has not arrived."""


@dataclass
class RelayCounters:
    """What this replica's relay has done since it started."""

    relayed: int = 0
    """Events that the sink has acknowledged."""
    set_aside: int = 0
    """Events that cannot be sent."""
    interrupted: int = 0
    """Times that sending failed, and began again from the cursor."""
    cells: int = 0
    """Cells that it relays now."""


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """The relay's measures."""

    lease_s: float = 5.0
    """After so long without a sign of life another replica takes a cell over."""
    window: int = 500
    """Events per read."""
    linger_s: float = 0.02
    """Pause between reads while events come slower than a window each, so that batches fill."""
    flights: int = 4
    """Windows that are sent and not yet acknowledged."""
    drain_s: float = 1.0
    """How long a stopping relay waits for those."""
    backoff_s: float = 0.2
    """Pause after a failure; doubles with each until `backoff_max_s`."""
    backoff_max_s: float = 5.0
    keep_us: int = 0
    """How long acknowledged entries stay in the outbox for replay."""


class Relay:
    """Relays all cells, as far as no other replica does."""

    def __init__(
        self, redis: Redis, redis_url: str, meta: Meta, sink: Sink, replica: str, options: RelayOptions | None = None
    ) -> None:
        """`redis_url` is that of `redis`: waiting reads need connections of their own."""
        self._redis = redis
        self._redis_url = redis_url
        self._meta = meta
        self._sink = sink
        self._replica = replica
        self._options = options or RelayOptions()
        self.counters = RelayCounters()

    async def run(self) -> None:
        """Relay until cancelled; then what has arrived is recorded, and other replicas may take over at once."""
        async with store.blocking_client(self._redis_url, self._meta.cells) as blocking, asyncio.TaskGroup() as tasks:
            for cell in range(self._meta.cells):
                outbox = Outbox(self._redis, blocking, self._meta.prefix(cell))
                relay = CellRelay(cell, outbox, self._sink, self._replica, self._options, self.counters)
                tasks.create_task(forever(relay.run, name=f"relay.{cell}"))


@dataclass(slots=True)
class _Window:
    """Entries that were read together."""

    last: bytes
    sent: int
    aside: Sequence[store.Unsendable]
    flight: Flight


@dataclass(slots=True)
class _Findings:
    """What was learnt about entries of the outbox; it outlives a session, and tenures too."""

    suspects: set[bytes] = field(default_factory=set)
    """Ids of a refused batch: each goes alone, to see which it was."""
    refused: dict[bytes, str] = field(default_factory=dict)
    """Ids that were refused alone, and why."""

    def learn(self, refusal: Refused) -> None:
        if len(refusal.ids) == 1:
            self.refused[refusal.ids[0]] = refusal.reason
        else:
            self.suspects.update(refusal.ids)

    def forget(self, window: _Window) -> None:
        """Entries up to the window's end are done with."""
        if self.suspects or self.refused:
            done = _position(window.last)
            self.suspects = {id_ for id_ in self.suspects if _position(id_) > done}
            self.refused = {id_: why for id_, why in self.refused.items() if _position(id_) > done}


def _position(id_: bytes) -> tuple[int, int]:
    ms, _, number = id_.partition(b"-")
    return int(ms), int(number)


class CellRelay:
    """Relays one cell."""

    def __init__(
        self,
        cell: int,
        outbox: Outbox,
        sink: Sink,
        replica: str,
        options: RelayOptions,
        counters: RelayCounters,
    ) -> None:
        self._cell = cell
        self._outbox = outbox
        self._sink = sink
        self._replica = replica
        self._options = options
        self._lease_us = int(options.lease_s * 1_000_000)
        self._counters = counters
        self._findings = _Findings()
        self._failures = 0

    async def run(self) -> None:
        """Wait for the lease, relay while it lasts, and again; after a failure with a growing pause."""
        while True:
            try:
                await self._tenure(await self._acquire())
            except Refused as refusal:
                self._counters.interrupted += 1
                self._findings.learn(refusal)
            except ServiceError as error:
                self._counters.interrupted += 1
                pause_s = self._pause_s()
                log.warning("relay.interrupted", cell=self._cell, error=str(error), retry_in_s=round(pause_s, 2))
                await asyncio.sleep(pause_s)

    def _pause_s(self) -> float:
        longest: float = min(self._options.backoff_s * 2**self._failures, self._options.backoff_max_s)
        self._failures = min(self._failures + 1, 30)
        return longest * random.uniform(0.5, 1)  # replicas that failed together come back apart

    async def _acquire(self) -> RelayLease:
        while True:
            lease = await self._outbox.lease(self._replica, self._lease_us)
            if lease is not None:
                return lease
            await self._outbox.wait_released(self._options.lease_s / 2)

    async def _tenure(self, lease: RelayLease) -> None:
        """Relay until something fails."""
        self._counters.cells += 1
        try:
            async with self._sink.session(self._cell) as session:
                await self._relay(lease, session)
        except ExceptionGroup as group:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # a TaskGroup lets errors hide that it was cancelled
                raise asyncio.CancelledError from group
            raise _cause(group) from group
        finally:
            self._counters.cells -= 1
            await self._release(lease)

    async def _release(self, lease: RelayLease) -> None:
        for _ in range(2):  # a lost connection is noticed by the first; after both the lease runs out by itself
            with suppress(Unavailable):
                await self._outbox.release(lease)
                return

    async def _relay(self, lease: RelayLease, session: Session) -> None:
        log.info("relay.began", cell=self._cell, fence=lease.fence, cursor=lease.cursor.decode())
        windows: asyncio.Queue[_Window | None] = asyncio.Queue(self._options.flights)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(lease))
            settling = tasks.create_task(self._settle(lease, windows))
            try:
                await self._forward(lease, session, windows)
            finally:  # it is cancelled, or something failed
                await self._drain(settling, windows)

    async def _keep(self, lease: RelayLease) -> None:
        while True:
            await self._outbox.renew(lease, self._replica, self._lease_us)
            await asyncio.sleep(self._options.lease_s / 3)

    async def _forward(self, lease: RelayLease, session: Session, windows: asyncio.Queue[_Window | None]) -> None:
        held_up = await self._outbox.refs_aside()
        position = lease.cursor
        while True:
            entries = await self._outbox.read(position, self._options.window)
            if not entries:
                continue
            window = await self._send(entries, session, held_up)
            await windows.put(window)
            position = window.last
            if len(entries) < self._options.window:
                await asyncio.sleep(self._options.linger_s)

    async def _send(self, entries: Sequence[OutboxEntry], session: Session, held_up: set[bytes]) -> _Window:
        suspects, refused = self._findings.suspects, self._findings.refused
        aside: list[store.Unsendable] = []
        for entry in entries:
            try:
                if entry.ref in held_up:
                    raise Unsendable("waits behind an earlier event of the job that was set aside")
                if entry.id in refused:
                    raise Unsendable(refused[entry.id])
                await session.add(entry, alone=entry.id in suspects)
            except Unsendable as error:
                aside.append(store.Unsendable(entry.id, entry.ref, str(error)))
                held_up.add(entry.ref)
        return _Window(entries[-1].id, len(entries) - len(aside), aside, await session.send())

    async def _settle(self, lease: RelayLease, windows: asyncio.Queue[_Window | None]) -> None:
        """Record, window by window, what has arrived."""
        while (window := await windows.get()) is not None:
            await window.flight.landed()
            if window.aside:
                await self._put_aside(lease, window.aside)
            await self._outbox.ack(lease, window.last, keep_us=self._options.keep_us)
            self._findings.forget(window)
            self._failures = 0
            self._counters.relayed += window.sent

    async def _put_aside(self, lease: RelayLease, events: Sequence[store.Unsendable]) -> None:
        count = await self._outbox.set_aside(lease, events)
        self._counters.set_aside += count
        first = events[0]
        log.error(
            "relay.set_aside", cell=self._cell, events=count, job=first.ref.decode(errors="replace"),
            entry=first.id.decode(), reason=first.reason,
        )  # fmt: skip

    async def _drain(self, settling: asyncio.Task[None], windows: asyncio.Queue[_Window | None]) -> None:
        if settling.done():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.drain_s):
                await windows.put(None)
                await asyncio.wait({settling})


def _cause(group: ExceptionGroup[Exception]) -> Exception:
    """The one that says most: a refusal, before what followed from it."""
    found = [error if not isinstance(error, ExceptionGroup) else _cause(error) for error in group.exceptions]
    kinds = (Refused, SinkUnavailable, ServiceError, Exception)
    return min(found, key=lambda error: next(i for i, kind in enumerate(kinds) if isinstance(error, kind)))
