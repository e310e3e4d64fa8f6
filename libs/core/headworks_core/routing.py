"""Script calls to the server that owns their keys: a cluster's, or the one that sentinels name.

Own, rather than redis-py's cluster client: see docs/adr/0016-redis-clusters.md. A call is sent once. What is followed
is an answer that says that nothing was done (MOVED, ASK); after a connection that broke the outcome is unknown, and
the caller is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import structlog
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from headworks_core.address import Address
from headworks_core.errors import FailedPrecondition
from headworks_core.loops import forever
from headworks_core.store import SLOTS, connect, disconnect
from headworks_core.topology import Sources, told_place

log = structlog.get_logger(__name__)

LOOK_S = 1.0
PAUSE_S = 0.2
"""Between two looks while something is wrong: an outage is no reason to ask the others all the time."""
REDIRECTS = 3
SCRIPTED = {"EVAL", "EVALSHA"}
DOUBTS = (RedisConnectionError, RedisTimeoutError, ClusterDownError, ReadOnlyError, asyncio.CancelledError)


class RoutedServers:
    """The primaries of a cluster, or of the sentinels' service; follows failovers and resharding while it is open."""

    def __init__(self, address: Address, *, timeout_s: float | None, connections: int) -> None:
        """`timeout_s` and `connections` as in `redis_client`, for each server."""
        self._address = address
        self._timeout_s = timeout_s
        self._connections = connections
        self._sources = Sources(address)
        self._owners = [""] * SLOTS
        self._clients: dict[str, Redis] = {}
        self._retired: list[Redis] = []
        self._doubted = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Find the servers. Raises RedisError, or FailedPrecondition (STORE_UNSUITABLE)."""
        try:
            await self._look()
        except BaseException:
            await self._close()
            raise
        self._following = asyncio.create_task(forever(self._follow, name="topology"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._following is not None
        self._following.cancel()
        with suppress(asyncio.CancelledError):
            await self._following
        await self._close()

    @property
    def slots(self) -> int:
        """How many of the slots have an owner."""
        return SLOTS - self._owners.count("")

    def place(self, key: str) -> str:
        """`host:port` of the server that owns a key; empty: none does."""
        return self._owners[key_slot(key.encode())]

    def all(self) -> Mapping[str, Redis]:
        """A client of every server that owns slots, by `host:port`."""
        return {place: self._client(place) for place in dict.fromkeys(self._owners) if place}

    def home(self, key: str) -> Redis:
        """A client of the server that owns a key now. Raises ClusterDownError if none does."""
        return self._client(self._owner(key_slot(key.encode())))

    async def execute_command(self, *args: Any) -> Any:
        """A command with keys of one slot, by the server that owns it. Raises RedisError.

        A script's first key is its third argument, that of any other command its first.
        """
        slot = key_slot(args[3 if args[0] in SCRIPTED else 1].encode())
        place = self._owner(slot)
        for _ in range(REDIRECTS):
            try:
                return await self._send(place, args)
            except MovedError as moved:
                place = self._moved(slot, moved, place)
            except AskError as asked:
                return await self._ask(told_place(asked.host, asked.port, place) or place, args)
            except DOUBTS:
                self._doubt(place)
                raise
        raise ClusterDownError(f"slot {slot} is moved from server to server")

    async def _send(self, place: str, args: tuple[Any, ...]) -> Any:
        execute: Any = self._client(place).execute_command
        return await execute(*args)

    async def _ask(self, place: str, args: tuple[Any, ...]) -> Any:
        """The slot is on its way to `place`, which takes this one call."""
        pipe: Any = self._client(place).pipeline(transaction=False)
        pipe.execute_command("ASKING")
        pipe.execute_command(*args)
        return (await pipe.execute())[1]

    def _moved(self, slot: int, moved: MovedError, asked: str) -> str:
        self._doubted.set()  # others may have moved with it
        place = told_place(moved.host, moved.port, asked)
        if not place:
            raise ClusterDownError(f"slot {slot} is with a server that {asked} does not know") from moved
        self._owners[slot] = place
        return place

    def _owner(self, slot: int) -> str:
        place = self._owners[slot]
        if not place:
            self._doubted.set()
            raise ClusterDownError(f"slot {slot} is not served")
        return place

    def _client(self, place: str) -> Redis:
        client = self._clients.get(place)
        if client is None:
            url = self._address.server_url(place)
            client = connect(url, timeout_s=self._timeout_s, connections=self._connections)
            self._clients[place] = client
        return client

    def _doubt(self, place: str) -> None:
        self._sources.doubt(place)
        self._doubted.set()

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._doubted.wait()
            await asyncio.sleep(PAUSE_S)
            self._doubted.clear()
            try:
                await self._look()
            except (RedisError, OSError, FailedPrecondition) as error:
                log.warning("store.topology_unknown", error=str(error))

    async def _look(self) -> None:
        owners = [""] * SLOTS
        for found in await self._sources.read():
            owners[found.first : found.last + 1] = [found.place] * (found.last + 1 - found.first)
        before, after = set(self._owners) - {""}, set(owners) - {""}
        if before and before != after:
            log.warning("store.moved", gone=sorted(before - after), new=sorted(after - before))
        self._owners = owners
        await self._sources.learn(sorted(after))
        await self._retire(after)

    async def _retire(self, used: set[str]) -> None:
        """Close the clients of servers that have owned nothing since the last look, when their calls have ended."""
        for client in self._retired:
            await disconnect(client)
        self._retired = [self._clients.pop(place) for place in self._clients.keys() - used]

    async def _close(self) -> None:
        for client in [*self._clients.values(), *self._retired]:
            await disconnect(client)
        await self._sources.close()
