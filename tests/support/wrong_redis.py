"""Servers that a service must refuse, each as its address: real ones in a wrong state, or a few lines of protocol."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from headworks_core.store import redis_client
from headworks_devkit.backends.valkey import valkey
from redis.asyncio import Redis

from tests.support.listening import listening
from tests.support.wait import wait_until

HOST = "127.0.0.1"
SLOTS = 16_384
Server = Callable[[], AbstractAsyncContextManager[str]]


def prepared(prepare: Callable[[Redis], Awaitable[object]], options: Mapping[str, str] | None = None) -> Server:
    """A Valkey that `prepare` has made unfit."""

    @asynccontextmanager
    async def server() -> AsyncIterator[str]:
        async with valkey(options) as backend, redis_client(backend.url, timeout_s=5) as client:
            await prepare(client)
            yield backend.url

    return server


def with_meta(**fields: str) -> Server:
    """A Valkey that belongs to another installation."""
    pairs: dict[Any, Any] = {**fields}
    return prepared(lambda redis: redis.hset("hw:meta", mapping=pairs))


def with_config(**config: str) -> Server:
    """A Valkey with other settings."""
    return prepared(lambda redis: redis.config_set(*next(iter(config.items()))))


async def _own_slots(redis: Redis, last: int) -> None:
    execute: Any = redis.execute_command
    await execute("CLUSTER", "ADDSLOTSRANGE", 0, last)

    async def settled() -> bool:
        return b"cluster_state:ok" in await execute("CLUSTER", "INFO")

    if last == SLOTS - 1:
        await wait_until(settled, 10)


def cluster(*, missing: int, full_coverage: bool = True) -> Server:
    """A cluster of one node that nobody has given its last slots."""
    options = {"cluster-enabled": "yes", "cluster-require-full-coverage": "yes" if full_coverage else "no"}
    return prepared(partial(_own_slots, last=SLOTS - 1 - missing), options)


@asynccontextmanager
async def replica() -> AsyncIterator[str]:
    """A replica that is up to date, and read-only as replicas are."""
    async with valkey() as primary, valkey() as second, redis_client(second.url, timeout_s=5) as client:
        await client.replicaof(HOST, primary.url.rpartition(":")[2].partition("/")[0])
        yield second.url


@asynccontextmanager
async def with_password(given: str = "") -> AsyncIterator[str]:
    """A server with a password, under an address that has another one, or none."""
    async with valkey() as backend, redis_client(backend.url, timeout_s=5) as client:
        await client.config_set("requirepass", "right")
        yield backend.url.replace("redis://", f"redis://:{given}@" if given else "redis://")


@asynccontextmanager
async def forbidding(*rules: str) -> AsyncIterator[str]:
    """A server whose user `service` may do everything but for these ACL rules."""
    async with valkey() as backend, redis_client(backend.url, timeout_s=5) as client:
        execute: Any = client.execute_command
        await execute("ACL", "SETUSER", "service", "on", ">secret", "~*", "&*", "+@all", *rules)
        yield backend.url.replace("redis://", "redis://service:secret@")


@asynccontextmanager
async def saying(reply: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """A server that answers each command, by its upper-case name, with what `reply` makes of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while header := await reader.readline():
                words = []
                for _ in range(int(header[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                writer.write(reply(words[0].upper()))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with listening(serve) as port:
        yield f"redis://{HOST}:{port}/0"


def of_version(flavour: str, version: str, *, more: Callable[[bytes], bytes | None] = lambda _: None) -> Server:
    """A server that says it is this old; it answers with what `more` makes of a command, whatever else with OK."""
    compatible = "" if flavour == "redis" else "redis_version:7.2.4\r\n"
    info = f"# Server\r\nrole:master\r\n{flavour}_version:{version}\r\n{compatible}maxmemory_policy:noeviction\r\n"
    bulk = f"${len(info)}\r\n{info}\r\n".encode()
    hello = b"%2\r\n+server\r\n+redis\r\n+proto\r\n:3\r\n"
    answers = {b"INFO": bulk, b"HELLO": hello, b"PING": b"+PONG\r\n"}
    return lambda: saying(lambda command: more(command) or answers.get(command, b"+OK\r\n"))


@asynccontextmanager
async def tls() -> AsyncIterator[str]:
    """A port that speaks TLS, under an address that does not say so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()  # nobody gets past the handshake

    async with listening(serve, context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) as port:
        yield f"redis://{HOST}:{port}/0"


@asynccontextmanager
async def plain_for_tls() -> AsyncIterator[str]:
    """A plain server, under an address that says TLS."""
    async with valkey() as backend:
        yield backend.url.replace("redis://", "rediss://")
