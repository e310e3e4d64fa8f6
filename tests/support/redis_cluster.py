"""Redis as it is in production: a cluster, and a primary that sentinels watch. Real processes, on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headworks_core.store import redis_client
from headworks_devkit.backends import RedisBackend
from headworks_devkit.backends.valkey import find_server, valkey
from headworks_devkit.ports import free_port, free_ports
from headworks_devkit.processes import child
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.support.wait import wait_until

HOST = "127.0.0.1"
SLOTS = 16_384
PATIENT_S = 60.0
SERVICE = "limits"


@dataclass
class Node:
    """One server of a cluster, and a client of it."""

    backend: RedisBackend
    redis: Redis
    bus_port: int = 0
    """Where the others of its cluster reach it."""

    @property
    def place(self) -> str:
        """`host:port`."""
        return self.backend.url.removeprefix("redis://").partition("/")[0]

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.place.rpartition(":")[2])

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.backend.pid is not None
        os.kill(self.backend.pid, number)

    async def said(self, *command: Any) -> Any:
        """Its answer to a command."""
        execute: Any = self.redis.execute_command
        return await execute(*command)


@dataclass
class RedisCluster:
    """A running cluster; `primaries[i]` has the i-th part of the slots, `replicas[i]` is its replica."""

    primaries: list[Node]
    replicas: list[Node] = field(default_factory=list)

    @property
    def url(self) -> str:
        """What a limiter is told."""
        return f"redis+cluster://{','.join(node.place for node in self.primaries)}"

    def owner_index(self, slot: int) -> int:
        """Which primary was given a slot at the beginning."""
        return slot * len(self.primaries) // SLOTS


@asynccontextmanager
async def redis_cluster(
    *, primaries: int = 3, replicas: bool = False, options: Mapping[str, str] | None = None
) -> AsyncIterator[RedisCluster]:
    """An empty cluster that has agreed on itself; with `replicas` each primary has one, in step with it."""
    told = {
        "cluster-enabled": "yes",
        "cluster-node-timeout": "2000",
        "cluster-require-full-coverage": "no",
        "repl-diskless-sync-delay": "0",
        **(options or {}),
    }
    async with AsyncExitStack() as stack:
        count = primaries * 2 if replicas else primaries
        nodes = await asyncio.gather(*(_node(stack, told, bus_port) for bus_port in free_ports(count)))
        cluster = RedisCluster(nodes[:primaries], nodes[primaries:])
        for index, node in enumerate(cluster.primaries):
            # The first slot that `owner_index` gives it, to the one before the next primary's.
            first, last = (-(-SLOTS * at // primaries) for at in (index, index + 1))
            await node.said("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            await node.said("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for node in nodes[1:]:
            await node.said("CLUSTER", "MEET", HOST, nodes[0].port, nodes[0].bus_port)
        await wait_until(lambda: _all(nodes, _knows(count)), PATIENT_S, what="the nodes to know each other")
        for primary, replica in zip(cluster.primaries, cluster.replicas, strict=False):
            identity = (await primary.said("CLUSTER", "MYID")).decode()
            await replica.said("CLUSTER", "REPLICATE", identity)
            await replica.said("READONLY")  # so that tests can look what it knows; its client has one connection
        await wait_until(lambda: _all(nodes, _is_well), PATIENT_S, what="the cluster to be well")
        await wait_until(lambda: _all(cluster.replicas, _is_in_step), PATIENT_S, what="the replicas to be in step")
        await wait_until(lambda: _all(nodes, _sees_replicas(len(cluster.replicas))), PATIENT_S, what="all to see that")
        yield cluster


async def _node(stack: AsyncExitStack, options: Mapping[str, str], bus_port: int = 0) -> Node:
    told = {**options, "cluster-port": str(bus_port)} if bus_port else options
    backend = await stack.enter_async_context(valkey(told))
    redis = await stack.enter_async_context(redis_client(backend.url, timeout_s=10, connections=1))
    return Node(backend, redis, bus_port)


async def _all(nodes: Sequence[Node], check: Any) -> bool:
    return all(await asyncio.gather(*(check(node) for node in nodes)))


def _knows(count: int) -> Any:
    async def check(node: Node) -> bool:
        return f"cluster_known_nodes:{count}\r\n".encode() in await node.said("CLUSTER", "INFO")

    return check


async def _is_well(node: Node) -> bool:
    info = await node.said("CLUSTER", "INFO")
    return b"cluster_state:ok" in info and b"cluster_slots_ok:16384" in info


async def _is_in_step(node: Node) -> bool:
    info: Any = await node.redis.info("replication")
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")


def _sees_replicas(count: int) -> Any:
    async def check(node: Node) -> bool:
        told = await node.said("CLUSTER", "SLOTS")
        return sum(len(entry) - 3 for entry in told) == count

    return check


@dataclass
class Watched:
    """A primary, its replica, and sentinels."""

    primary: Node
    replica: Node
    sentinels: list[str]

    @property
    def url(self) -> str:
        """What a limiter is told."""
        return f"redis+sentinel://{','.join(self.sentinels)}/{SERVICE}"


@asynccontextmanager
async def watched(*, sentinels: int = 3, down_after_ms: int = 1_000) -> AsyncIterator[Watched]:
    """A primary and a replica in step with it, watched by sentinels that know of both."""
    async with AsyncExitStack() as stack:
        options = {"repl-diskless-sync-delay": "0"}
        primary = await _node(stack, options)
        replica = await _node(stack, {**options, "replicaof": f"{HOST} {primary.port}"})
        await wait_until(lambda: _is_in_step(replica), PATIENT_S, what="the replica to be in step")
        quorum = sentinels // 2 + 1
        places = [await _sentinel(stack, primary.port, quorum, down_after_ms) for _ in range(sentinels)]
        for place in places:
            client = await stack.enter_async_context(redis_client(f"redis://{place}", timeout_s=10))
            await wait_until(lambda: _sentinel_knows(client, sentinels - 1), PATIENT_S, what="the sentinels")  # noqa: B023
        yield Watched(primary, replica, places)


async def _sentinel(stack: AsyncExitStack, port: int, quorum: int, down_after_ms: int) -> str:
    program, _ = await asyncio.to_thread(find_server)
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headworks-sentinel-")))
    own, file = free_port(), home / "sentinel.conf"
    text = f"""
bind {HOST}
port {own}
dir {home}
sentinel monitor {SERVICE} {HOST} {port} {quorum}
sentinel down-after-milliseconds {SERVICE} {down_after_ms}
sentinel failover-timeout {SERVICE} 10000
"""
    await asyncio.to_thread(file.write_text, text)
    await stack.enter_async_context(child("sentinel", [str(program), str(file), "--sentinel"], grace_s=5))
    return f"{HOST}:{own}"


async def _sentinel_knows(client: Redis, others: int) -> bool:
    execute: Any = client.execute_command
    try:
        told = await execute("SENTINEL", "MASTER", SERVICE)
    except RedisError:
        return False
    said = told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))
    plain = {_text(name): _text(value) for name, value in said.items()}
    return plain["num-other-sentinels"] == str(others) and plain["num-slaves"] == "1"


def _text(value: bytes | str | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
