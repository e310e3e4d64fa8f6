"""The servers behind a URL, whatever it names: one, a cluster's, or the one that sentinels name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import structlog
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from headworks_core.address import Kind, parse
from headworks_core.errors import FailedPrecondition, Reason
from headworks_core.fitness import StoreFitness
from headworks_core.routing import RoutedServers
from headworks_core.store import SLOTS, check_permissions, check_server, connect, disconnect

log = structlog.get_logger(__name__)

TAGS = 1 << 17  # enough numbers to find a hash tag in any range of slots
ROUTING_COMMANDS = ("ASKING", "CLUSTER INFO", "CLUSTER SLOTS")


class Servers(Protocol):
    """What a service needs of the servers that hold its state."""

    @property
    def execute_command(self) -> Any:
        """Runs a command on the server that owns its keys, all of one slot. Raises RedisError."""

    def place(self, key: str) -> str:
        """Names the server that owns a key; the same name is the same server."""

    def all(self) -> Mapping[str, Redis]:
        """A client of every server, by that name."""

    def home(self, key: str) -> Redis:
        """A client of the server that owns a key now."""


class OneServer:
    """One server that has everything; nothing stands between it and its caller."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.execute_command: Any = redis.execute_command

    def place(self, key: str) -> str:
        """There is only one."""
        return ""

    def all(self) -> Mapping[str, Redis]:
        """That one."""
        return {"": self._redis}

    def home(self, key: str) -> Redis:
        """That one."""
        return self._redis


@asynccontextmanager
async def open_servers(url: str, *, timeout_s: float | None, connections: int) -> AsyncIterator[Servers]:
    """The servers of a URL, see `address`; `timeout_s` and `connections` as in `redis_client`, for each of them.

    Raises RedisError or FailedPrecondition where the URL names others who know them, and they do not say.
    """
    address = parse(url)
    if address.kind is not Kind.SERVER:
        async with RoutedServers(address, timeout_s=timeout_s, connections=connections) as servers:
            yield servers
        return
    client = connect(url, timeout_s=timeout_s, connections=connections)
    try:
        yield OneServer(client)
    finally:
        await disconnect(client)


async def check_servers(servers: Servers, commands: Iterable[str], *, key_tail: str, channel: str) -> str:
    """`check_server` and `check_permissions` for each server; returns what they are.

    `key_tail` is what a key looks like after its hash tag. Of a cluster's servers some may not answer: they fail their
    own cells. Raises as those do, or the connection's error if none answers.
    """
    if isinstance(servers, RoutedServers) and servers.slots < SLOTS:
        message = f"the cluster serves {servers.slots} of {SLOTS} slots; all must be served"
        raise FailedPrecondition(message, reason=Reason.STORE_UNSUITABLE)
    clients = servers.all()
    alone = isinstance(servers, OneServer)
    wanted = [*commands] if alone else [*commands, *ROUTING_COMMANDS]

    async def check(place: str, redis: Redis) -> str:
        said = await check_server(redis, durable=False, alone=alone)
        tag = next(number for number in range(TAGS) if servers.place(f"{{hw:{number}}}") == place)
        await check_permissions(redis, wanted, key=f"{{hw:{tag}}}{key_tail}", channel=channel)
        return said

    found = await asyncio.gather(*(check(*each) for each in clients.items()), return_exceptions=True)
    said, away = [], []
    for place, outcome in zip(clients, found, strict=True):
        if isinstance(outcome, (RedisConnectionError, RedisTimeoutError)):
            away.append((place, outcome))
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            said.append(outcome)
    if not said:
        raise away[0][1]
    for place, error in away:
        log.warning("store.partly_away", server=place, error=str(error))
    return ", ".join(sorted(set(said)))


class ServersFitness:
    """Whether the servers are what a service can work with, for as long as it runs.

    As long as one is, so is the service: it answers for that one's cells, and the rules say what happens to the others.
    """

    def __init__(self, servers: Servers, *, timeout_s: float) -> None:
        """`timeout_s` bounds each question."""
        self._servers = servers
        self._timeout_s = timeout_s
        self._alone = isinstance(servers, OneServer)
        self._each: dict[str, tuple[Redis, StoreFitness]] = {}
        self._away: set[str] = set()

    async def __call__(self) -> str:
        """What is wrong with all of them, in a few words; empty: nothing, or not with all."""
        self._each = {place: self._of(place, redis) for place, redis in self._servers.all().items()}
        faults = dict(zip(self._each, await asyncio.gather(*(ask() for _, ask in self._each.values())), strict=True))
        bad = {place: fault for place, fault in faults.items() if fault}
        if self._alone:
            return bad.get("", "")
        if bad.keys() != self._away:
            log.warning("store.partly_away" if bad else "store.all_back", servers=bad, of=len(faults))
            self._away = set(bad)
        if len(bad) < len(faults):
            return ""
        return "; ".join(f"{place} {fault}" for place, fault in bad.items()) or "no server is known"

    def _of(self, place: str, redis: Redis) -> tuple[Redis, StoreFitness]:
        known = self._each.get(place)
        if known is not None and known[0] is redis:
            return known
        return redis, StoreFitness(redis, durable=False, timeout_s=self._timeout_s, alone=self._alone)
