"""The Redis client as the services use it, and the check that a server is fit to hold their state."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from headworks_core.errors import FailedPrecondition, Reason, ResourceExhausted, ServiceError, Unavailable
from headworks_core.measures import PROCESS

FLOOR = {"redis": (7, 2), "valkey": (8, 0)}
SLOTS = 16_384

# KEYS[1]: a key, ARGV: a channel, then names of commands, perhaps with a part (`CLUSTER SLOTS`); those that this
# connection's user may not use.
_FORBIDDEN = """
local CHANNELS = {PUBLISH = true, SUBSCRIBE = true}
local refused = {}
for i = 2, #ARGV do
  local name = ARGV[i]
  local what = CHANNELS[name] and ARGV[1] or KEYS[1]
  local command, part = string.match(name, '^(%S+) ?(%S*)$')
  local known, allowed = pcall(redis.acl_check_cmd, command, part ~= '' and part or what, what, what)
  if not (known and allowed) then
    refused[#refused + 1] = name
  end
end
return refused
"""


@asynccontextmanager
async def redis_client(
    url: str, *, timeout_s: float | None, connections: int = 16, health_check_s: int = 15
) -> AsyncIterator[Redis]:
    """A client that never retries by itself: after a lost reply only a `request_id` makes a retry safe.

    `timeout_s` bounds each command; None is for connections that block on purpose.
    """
    client = connect(url, timeout_s=timeout_s, connections=connections, health_check_s=health_check_s)
    try:
        yield client
    finally:
        await disconnect(client)


def connect(url: str, *, timeout_s: float | None, connections: int = 16, health_check_s: int = 15) -> Redis:
    """A client as `redis_client` has it, which connects when it is used; `disconnect` ends it."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_s or 5,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s or 5,
        retry=Retry(NoBackoff(), 0),
        protocol=3,
        legacy_responses=False,
        health_check_interval=health_check_s,
        # With them the pool no longer looks whether the server has closed a connection before it lends it out.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    pool.connection_class = _packing(pool.connection_class)
    return Redis(connection_pool=pool)


async def disconnect(client: Redis) -> None:
    """Close a client's connections."""
    await client.aclose()
    await client.connection_pool.aclose()


def _packing(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """The same connection with commands packed in C, as the synchronous client has it: four times as fast."""

    class PackingConnection(kind):  # type: ignore[misc,valid-type]  # the base is chosen by the URL's scheme
        def pack_command(self, *args: Any) -> list[bytes]:
            if " " in args[0]:  # two words, for the slow path to split
                packed: list[bytes] = super().pack_command(*args)
                return packed
            return [hiredis.pack_command(args)]

        async def send_packed_command(self, command: bytes | Iterable[bytes], check_health: bool = True) -> None:
            # redis-py's own goes through `asyncio.wait_for`: a task a command, and on Python 3.11 it swallows a
            # cancellation that comes just as the write ends, so that a loop never stops.
            if not self.is_connected:
                await self.connect_check_health(check_health=False)
            if check_health:
                await self.check_health()
            chunks = [command] if isinstance(command, bytes) else command
            try:
                async with asyncio.timeout(self.socket_timeout):
                    await self._send_packed_command(chunks)
            except TimeoutError:
                await self.disconnect(nowait=True)
                raise RedisTimeoutError("Timeout writing to socket") from None
            except (OSError, RuntimeError) as error:  # uvloop's word for a transport that has closed meanwhile
                await self.disconnect(nowait=True)
                raise RedisConnectionError(f"{error} while writing to socket") from error
            except BaseException:
                await self.disconnect(nowait=True)
                raise

    return PackingConnection


async def check_server(redis: Redis, *, durable: bool, alone: bool = True) -> str:
    """Refuse a server that cannot hold our state; returns its name and version.

    That is one that is too old, a replica, (`alone`) a part of a cluster, or (`durable`) one that would evict jobs.
    Raises FailedPrecondition (STORE_UNSUITABLE) saying what to change, or Unavailable if its cluster is down.
    """
    info = await redis.info()
    flavour = "valkey" if "valkey_version" in info else "redis"
    text = str(info.get("valkey_version", info["redis_version"]))
    version = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
    if version < FLOOR[flavour]:
        floor = ".".join(map(str, FLOOR[flavour]))
        raise _unsuitable(f"the server is {flavour} {text}; {flavour} {floor} or newer is needed")
    if info.get("role", "master") != "master":
        raise _unsuitable("the server is a read-only replica; name its primary")
    policy = info.get("maxmemory_policy", "noeviction")
    if durable and policy != "noeviction":
        raise _unsuitable(f"maxmemory-policy is {policy}, which would evict jobs; set it to noeviction")
    if info.get("cluster_enabled"):
        await _check_cluster(redis, alone)
    return f"{flavour} {text}"


async def _check_cluster(redis: Redis, alone: bool) -> None:
    """A server that is used `alone` must serve every slot; of several each must find its cluster well."""
    execute: Any = redis.execute_command
    lines = bytes(await execute("CLUSTER", "INFO")).decode().split()
    said = dict(line.split(":", 1) for line in lines)
    if not alone:
        if said["cluster_state"] != "ok":
            raise Unavailable("the cluster is down (cluster_state:fail)", retry_after_us=500_000)
        return
    served = int(said["cluster_slots_ok"])
    if served < SLOTS:
        raise _unsuitable(f"the cluster serves {served} of {SLOTS} slots; all must be served")
    if int(said["cluster_size"]) > 1:
        size = said["cluster_size"]
        raise _unsuitable(f"the slots are spread over {size} servers; name them to a limiter as redis+cluster://")


async def check_permissions(redis: Redis, commands: Iterable[str], *, key: str, channel: str) -> None:
    """Refuse a user that may not use some of `commands`, in scripts or without, or not `key` or `channel`.

    A script that is stopped half-way by a missing permission leaves what it has written. Raises FailedPrecondition
    (STORE_UNSUITABLE) naming what is forbidden.
    """
    execute: Any = redis.execute_command
    wanted = sorted(commands)
    refused: list[bytes] = await execute("EVAL", _FORBIDDEN, 1, key, channel, *wanted)
    if refused:
        names = ", ".join(name.decode() for name in refused)
        raise _unsuitable(f"the user may not use {names}; its ACL needs +@all -@dangerous +info +cluster|info ~* &*")


@contextmanager
def starting(url: str) -> Iterator[None]:
    """Whatever is wrong with the store at start is one line that names the server, without credentials."""
    server = f"Redis at {urlsplit(url).netloc.rpartition('@')[2]}"
    try:
        yield
    except ServiceError as error:
        raise type(error)(f"{server}: {error}", reason=error.reason) from error
    except AuthenticationError as error:
        raise _unsuitable(f"{server} refuses the user or the password of the URL: {error}") from error
    except NoPermissionError as error:
        raise _unsuitable(f"{server} forbids what is needed: {error}") from error
    except (RedisTimeoutError, RedisConnectionError) as error:
        scheme = urlsplit(url).scheme
        secure = scheme.startswith("rediss")
        hint = f"the URL begins with {scheme}://; does it speak TLS?" if secure else "does it want TLS (rediss://)?"
        raise Unavailable(f"{server} cannot be reached: {error}; {hint}") from error
    except OutOfMemoryError as error:
        raise ResourceExhausted(f"{server} is at maxmemory: {error}", reason=Reason.STORE_FULL) from error
    except RedisError as error:
        raise Unavailable(f"{server} refuses: {error}") from error


async def answers(redis: Redis, *, timeout_s: float) -> bool:
    """Whether the server answers a PING within `timeout_s` seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            await redis.execute_command("PING")  # type: ignore[no-untyped-call]
    except (RedisError, TimeoutError):
        return False
    return True


def _unsuitable(message: str) -> FailedPrecondition:
    return FailedPrecondition(message, reason=Reason.STORE_UNSUITABLE)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn what plain commands raise into the error kinds; scripts do so by themselves."""
    try:
        yield
    except RedisError as error:
        raise store_error(error) from error


class Moving(Unavailable):
    """A cluster is moving some of the keys from one server to another, which can answer for no call that needs both.

    Nothing was done, and the servers are well.
    """


def store_error(error: RedisError) -> ServiceError:
    """What a failed command means to a caller; its outcome may be unknown."""
    kind, meaning = _meaning(error)
    PROCESS.store_errors[kind,] += 1
    return meaning


_STATES = ("NOREPLICAS ", "MISCONF ", "CLUSTERDOWN ", "MASTERDOWN ", "TRYAGAIN ", "BUSY ", "UNKILLABLE ")
"""How errors begin that tell of the store's state, also where a script met it; redis-py has no classes for these."""


def _meaning(error: RedisError) -> tuple[str, ServiceError]:
    if isinstance(error, TryAgainError):
        return "refused", Moving("the store is moving these keys", retry_after_us=100_000)
    if isinstance(error, OutOfMemoryError):
        return "full", ResourceExhausted("the store is full", reason=Reason.STORE_FULL, retry_after_us=1_000_000)
    if isinstance(error, RedisTimeoutError):
        return "timeout", Unavailable("the store did not answer in time", retry_after_us=100_000)
    if isinstance(error, RedisConnectionError):
        return "connection", Unavailable(f"the store cannot be reached: {error}", retry_after_us=500_000)
    if type(error) is ResponseError and "script: " in str(error) and not str(error).startswith(_STATES):
        return "script", ServiceError(f"script error: {error}")
    return "refused", Unavailable(f"the store refused: {type(error).__name__}", retry_after_us=500_000)
