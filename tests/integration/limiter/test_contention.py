"""A thousand callers at once on three limiter processes: what is granted is what the rules say, to the permit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from headworks.limiter.v1.limiter_pb2 import PermitRequest
from headworks_core.cells import Meta
from headworks_devkit import services
from headworks_devkit.backends import RedisBackend
from headworks_devkit.backends.valkey import valkey
from headworks_devkit.ports import free_ports

from tests.integration.limiter.serving import PATIENT_MS, Limiter, request, text
from tests.support.redis_cluster import RedisCluster, redis_cluster

REPLICAS = 3
CALLERS = 1_000
CHANNELS = 6  # a replica
LIMIT = 400
USERS = 10
OF_USER, OF_ALL = 30, 250
TENANTS = 200
OF_TENANT = 3

# What keeps an algorithm from giving permits back while the test runs. A new algorithm is one more line.
ALGORITHMS = {
    "gcra": "per: 2000d",
    "token_bucket": "per: 2000d",
    "fixed_window": "per: 2000d, align: first_hit",
    "sliding_window_counter": "per: 2000d",
    "sliding_window_log": "per: 2000d",
    "concurrency": "ttl: 1d",
    "adaptive": "ttl: 1d",
}
ALONE = {**ALGORITHMS, "leaky_bucket": "per: 2000d"}
"""Queues make wait, which the others cannot."""


def rules() -> str:
    lines = ["namespaces:"]
    for name in ALONE:
        lines += [f"  {name}:", "    rules:", f"      - {{name: one, match: {{}}, limit: {LIMIT}, {_of(name)}}}"]
    lines += ["  mixed:", "    rules:"]
    lines += [
        f"      - {{name: user-{name}, match: {{user: '*'}}, limit: {OF_USER}, {_of(name)}}}" for name in ALGORITHMS
    ]
    lines += [f"      - {{name: all-{name}, match: {{}}, limit: {OF_ALL}, {_of(name)}}}" for name in ALGORITHMS]
    lines += ["  tenants:", "    rules:"]
    lines += [f"      - {{name: {name}, match: {{}}, limit: {OF_TENANT}, {_of(name)}}}" for name in ALGORITHMS]
    return "\n".join(lines)


def _of(name: str) -> str:
    return f"algorithm: {name}, {ALONE[name]}"


class Replicas:
    """Callers of three limiters, in turn, over several connections to each."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._limiters = [Limiter(channel) for channel in channels]

    async def together(self, asked: Sequence[PermitRequest], tenants: Sequence[str] = ("default",)) -> list[int]:
        """What each is granted, all asked at once."""

        async def one(number: int, each: PermitRequest) -> int:
            limiter = self._limiters[number % len(self._limiters)].of(tenants[number % len(tenants)])
            decision = await limiter.consume(each)
            assert not decision.degraded
            return decision.permits

        return await asyncio.gather(*(one(number, each) for number, each in enumerate(asked)))

    async def left(self, asked: PermitRequest) -> dict[str, int]:
        """What each rule has left, by its name."""
        return {status.rule: status.remaining for status in (await self._limiters[0].check(asked)).rules}


@asynccontextmanager
async def replicas(url: str, folder: Path) -> AsyncIterator[Replicas]:
    """Three processes on one store."""
    file = folder / "rules.yaml"
    file.write_text(rules())
    async with AsyncExitStack() as stack:
        addresses = [f"127.0.0.1:{port}" for port in free_ports(REPLICAS)]
        store = RedisBackend(url, "store")
        starting = [
            services.running(
                services.limiter(f"limiter-{number}", address=at, redis=store, rules=file, redis_timeout_ms=PATIENT_MS),
                timeout_s=60,
            )
            for number, at in enumerate(addresses)
        ]
        await asyncio.gather(*(stack.enter_async_context(each) for each in starting))
        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(at, options=[("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(CHANNELS)
            for at in addresses
        ]
        yield Replicas(channels)


@pytest.fixture(scope="module")
async def on_one(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replicas]:
    async with valkey() as server, replicas(server.url, tmp_path_factory.mktemp("one")) as running:
        yield running


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[RedisCluster]:
    async with redis_cluster() as made:
        yield made


@pytest.mark.parametrize("algorithm", ALONE)
async def test_a_limit_is_granted_to_the_permit(on_one: Replicas, algorithm: str) -> None:
    granted = await on_one.together([request(algorithm, user="x")] * CALLERS)
    assert sum(granted) == LIMIT
    assert await on_one.left(request(algorithm, user="x")) == {"one": 0}


async def test_rules_of_all_algorithms_together_take_all_or_nothing(on_one: Replicas) -> None:
    users = [f"user-{number % USERS}" for number in range(CALLERS)]
    granted = await on_one.together([request("mixed", user=user) for user in users])
    by_user = Counter[str]()
    for user, permits in zip(users, granted, strict=True):
        by_user[user] += permits
    assert by_user.total() == OF_ALL
    assert max(by_user.values()) <= OF_USER
    for user, permits in by_user.items():  # refused requests have taken nothing from any of their buckets
        left = await on_one.left(request("mixed", user=user))
        assert left == {
            **{f"user-{name}": OF_USER - permits for name in ALGORITHMS},
            **{f"all-{name}": 0 for name in ALGORITHMS},
        }


async def test_every_tenant_of_a_cluster_is_granted_its_limit_to_the_permit(
    cluster: RedisCluster, tmp_path: Path
) -> None:
    tenants = [f"tenant-{number}" for number in range(TENANTS)]
    async with replicas(cluster.url, tmp_path) as running:
        granted = await running.together([request("tenants", user="x")] * CALLERS, tenants)
    by_tenant = Counter[str]()
    for number, permits in enumerate(granted):
        by_tenant[tenants[number % TENANTS]] += permits
    assert by_tenant == dict.fromkeys(tenants, OF_TENANT)
    seen = [{text(key).partition(":lim:")[0] for key in await node.redis.keys("*:lim:*")} for node in cluster.primaries]
    meta = Meta(cells=64)
    assert sorted(cell for cells in seen for cell in cells) == sorted({meta.prefix(meta.cell_of(t)) for t in tenants})
    assert all(len(cells) > 10 for cells in seen)
