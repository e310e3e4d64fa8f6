"""A cell's outbox in Redis: read by one relay at a time, which holds a fenced lease and owns the cursor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from headworks_core.errors import FailedPrecondition
from headworks_core.scripts import Argument, load
from headworks_core.store import redis_client, store_errors
from redis.asyncio import Redis

from headworks_scheduler.domain.events import OutboxEntry

SCRIPTS = ("relay_lease", "relay_ack", "relay_release", "relay_aside")
BLOCK_S = 2.0  # the longest a read waits in Redis; the client's timeout must be longer
WORDS = 10
ASIDE_PAGE = 1000


class RelayLeaseLost(FailedPrecondition):
    """Another replica relays this cell now; the call changed nothing."""


@dataclass(frozen=True, slots=True)
class RelayLease:
    """The right to relay one cell."""

    fence: int
    cursor: bytes
    """Where to go on: the id of the last entry that the broker acknowledged."""


@dataclass(frozen=True, slots=True)
class Unsendable:
    """An entry of the outbox that cannot be sent, and why."""

    id: bytes
    ref: bytes
    reason: str


class Outbox:
    """One cell's outbox. Every method raises Unavailable for a store that fails."""

    def __init__(self, redis: Redis, blocking: Redis, prefix: str, *, now_us: Callable[[], int] | None = None) -> None:
        """`blocking` is a `blocking_client`; `now_us` is for tests."""
        self._redis = redis
        self._blocking = blocking
        self._prefix = prefix
        self._now_us = now_us
        self._scripts = {name: load("headworks_scheduler.store", name) for name in SCRIPTS}

    async def lease(self, owner: str, lease_us: int) -> RelayLease | None:
        """Take the right to relay for `lease_us`; None while somebody else has it."""
        fence, cursor, _ = await self._call("relay_lease", owner, lease_us, 0)
        return RelayLease(fence, cursor) if fence else None

    async def renew(self, lease: RelayLease, owner: str, lease_us: int) -> None:
        """Keep the right for another `lease_us`. Raises RelayLeaseLost."""
        fence, _, _ = await self._call("relay_lease", owner, lease_us, lease.fence)
        self._check(lease, held=fence != 0)

    async def release(self, lease: RelayLease) -> None:
        """Give the right back, so that a replica in `wait_released` takes it at once. Does nothing if it was lost."""
        await self._call("relay_release", lease.fence)

    async def wait_released(self, timeout_s: float) -> None:
        """Return when the lease's owner gave it back, at the latest after `timeout_s`, itself at most BLOCK_S."""
        await _execute(self._blocking, "BLPOP", f"{self._prefix}:relay:freed", min(timeout_s, BLOCK_S))

    async def read(self, after: bytes, count: int) -> list[OutboxEntry]:
        """The next entries in order, at most `count`; waits up to BLOCK_S for the first.

        A foreign entry, without the words of an event, comes with its id and otherwise empty.
        """
        stream = f"{self._prefix}:outbox"
        reply: dict[bytes, list[Any]] | None = await _execute(
            self._blocking, "XREAD", "COUNT", count, "BLOCK", int(BLOCK_S * 1000), "STREAMS", stream, after
        )
        if not reply:
            return []
        (entries,) = reply.values()
        return [_entry(id_, fields) for id_, fields in entries]

    async def ack(self, lease: RelayLease, cursor: bytes, *, keep_us: int = 0) -> None:
        """All entries up to `cursor` are with the broker: forget them, but for `keep_us`. Raises RelayLeaseLost."""
        self._check(lease, held=await self._call("relay_ack", lease.fence, cursor, keep_us) == 1)

    async def set_aside(self, lease: RelayLease, events: Sequence[Unsendable]) -> int:
        """Copy entries to the stream of those set aside; how many were new there. Raises RelayLeaseLost."""
        args: list[Argument] = [lease.fence]
        for event in events:
            args += [event.id, event.reason]
        count: int = await self._call("relay_aside", *args)
        self._check(lease, held=count >= 0)
        return count

    async def refs_aside(self) -> set[bytes]:
        """The jobs that have events set aside."""
        refs: set[bytes] = set()
        start = b"-"
        while True:
            page: list[tuple[bytes, dict[bytes, bytes]]] = await _execute(
                self._redis, "XRANGE", f"{self._prefix}:outbox:aside", start, "+", "COUNT", ASIDE_PAGE
            )
            refs.update(fields[b"event"].split(b" ", 1)[0] for _, fields in page if b"event" in fields)
            if len(page) < ASIDE_PAGE:
                return refs
            start = b"(" + page[-1][0]

    async def _call(self, name: str, *args: Argument) -> Any:
        now_us = "" if self._now_us is None else self._now_us()
        return await self._scripts[name](self._redis, [self._prefix], [now_us, *args])

    def _check(self, lease: RelayLease, *, held: bool) -> None:
        if not held:
            raise RelayLeaseLost(f"the lease {lease.fence} on {self._prefix}:outbox was lost to another replica")


async def _execute(client: Redis, *words: str | bytes | float) -> Any:
    execute: Any = client.execute_command
    with store_errors():
        return await execute(*words)


@asynccontextmanager
async def blocking_client(url: str, connections: int) -> AsyncIterator[Redis]:
    """The client for `Outbox`'s waiting reads, one connection for each that waits at a time.

    Its timeout is longer than they wait, and XREAD gives what the server sent: the dicts that redis-py would build
    cost as much as all else that a read does.
    """
    async with redis_client(url, timeout_s=BLOCK_S + 3, connections=connections) as client:
        client.set_response_callback("XREAD", _as_sent)
        yield client


def _as_sent(response: Any, **_: Any) -> Any:
    return response


def _entry(id_: bytes, fields: list[bytes]) -> OutboxEntry:
    words = fields[1].split(b" ", WORDS - 1) if fields[0] == b"event" else []
    if len(words) != WORDS:
        return OutboxEntry._make((id_, *[b""] * WORDS))
    ref, type_, task, sequence, attempt, generation, state, at, trace, failure = words
    trace = b"" if trace == b"-" else trace
    return OutboxEntry(id_, ref, type_, task, sequence, attempt, generation, state, at, trace, failure)
