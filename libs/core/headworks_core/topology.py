"""Which server holds which slots, as a server of a cluster or a sentinel tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from headworks_core.address import Address, Kind, node_of
from headworks_core.errors import FailedPrecondition, Reason
from headworks_core.store import SLOTS, connect, disconnect

ASK_S = 1.0
ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Range:
    """Slots `first` to `last`, both included, and the `host:port` of their primary."""

    first: int
    last: int
    place: str


class _Behind(RedisConnectionError):
    """A sentinel has missed a failover."""


class Sources:
    """Those who can be asked: the nodes that the URL names, and what has been seen of the cluster since."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._order = list(address.nodes)
        self._clients: dict[str, Redis] = {}
        self._primary = ""
        """What sentinels have named last and has said itself that it is one."""
        self._epoch = 0
        """Of the latest failover that a sentinel has told of."""
        self._behind = 0
        """Rounds in which no sentinel knew of that one."""

    async def read(self) -> Sequence[Range]:
        """What the first that answers says. Raises what the last one failed with, if none does."""
        failure: Exception = RedisConnectionError("nobody is there to be asked")
        behind = False
        for place in list(self._order):
            try:
                async with asyncio.timeout(ASK_S):
                    return await self._tell(place)
            except TimeoutError:
                failure = RedisConnectionError(f"{place} does not answer")
            except (RedisError, OSError, FailedPrecondition) as error:
                failure, behind = error, behind or isinstance(error, _Behind)
            self.doubt(place)
        if behind:
            self._behind += 1
            if self._behind >= ROUNDS:  # none of them has ever heard of it: they are others, under the same addresses
                self._epoch = self._behind = 0
        raise failure

    def doubt(self, place: str) -> None:
        """Ask this one last: what a server that is cut off believes is old."""
        if place in self._order:
            self._order.remove(place)
            self._order.append(place)

    async def learn(self, places: Sequence[str]) -> None:
        """A cluster's servers may all be others than those of the URL, in time."""
        if self._address.kind is Kind.CLUSTER:
            known = [*places, *self._address.nodes]
            kept = [place for place in self._order if place in known]
            self._order = list(dict.fromkeys([*kept, *known]))
            for place in self._clients.keys() - set(self._order):
                await disconnect(self._clients.pop(place))

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await disconnect(client)

    async def _tell(self, place: str) -> Sequence[Range]:
        sentinel = self._address.kind is Kind.SENTINEL
        client = self._clients.get(place)
        if client is None:
            url = self._address.sentinel_url(place) if sentinel else self._address.server_url(place)
            client = self._clients[place] = connect(url, timeout_s=ASK_S, connections=1)
        return await (self._of_sentinel(client) if sentinel else _of_cluster(client, place))

    async def _of_sentinel(self, client: Redis) -> Sequence[Range]:
        execute: Any = client.execute_command
        service = self._address.service
        told = await execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        if not told:
            message = f"the sentinels know no service {service}"
            raise FailedPrecondition(message, reason=Reason.STORE_UNSUITABLE)
        place = node_of(_text(told[0]), int(told[1]))
        self._note(_epoch(await execute("SENTINEL", "MASTER", service)))
        if place != self._primary:
            await self._refuse_replica(place)
            self._primary = place
        return [Range(0, SLOTS - 1, place)]

    def _note(self, epoch: int) -> None:
        """A sentinel that has not heard of the latest failover names the old primary, which may not know either."""
        if epoch < self._epoch:
            raise _Behind(f"a sentinel knows of failover {epoch}, others of {self._epoch}")
        self._epoch, self._behind = epoch, 0

    async def _refuse_replica(self, place: str) -> None:
        """A sentinel that has missed a failover, or is in the middle of one, names a server that is none any more."""
        client = connect(self._address.server_url(place), timeout_s=ASK_S, connections=1)
        try:
            role = (await client.info("replication"))["role"]
        finally:
            await disconnect(client)
        if role != "master":
            message = f"{place}, which a sentinel names as primary, is a read-only replica"
            raise FailedPrecondition(message, reason=Reason.STORE_UNSUITABLE)


def _epoch(master: Mapping[bytes, bytes] | Sequence[bytes]) -> int:
    said = master if isinstance(master, Mapping) else dict(zip(master[::2], master[1::2], strict=True))
    return int(said.get(b"config-epoch", b"0"))


async def _of_cluster(client: Redis, asked: str) -> Sequence[Range]:
    execute: Any = client.execute_command
    ranges = []
    for first, last, primary, *_ in await execute("CLUSTER", "SLOTS"):
        place = told_place(_text(primary[0]), int(primary[1]), asked)
        if place:
            ranges.append(Range(int(first), int(last), place))
    return ranges


def told_place(host: str, port: int, asked: str) -> str:
    """`host:port` as the server at `asked` means it: no host is its own, `?` is one that it does not know."""
    if host == "?":
        return ""
    return node_of(host, port) if host else f"{asked.rpartition(':')[0]}:{port}"


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
