"""Platform rules on a cluster: a thousand callers, and servers and limiters that die between the steps of a request.

Never is more granted than a rule says, and what nobody was granted is there again when its reservation has ended.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from headworks_core.cells import Meta
from headworks_devkit import services
from headworks_devkit.backends import RedisBackend
from headworks_devkit.ports import free_port
from headworks_devkit.processes import Child
from headworks_limiter.domain.rule import PLATFORM, reserved_key
from redis.asyncio import Redis
from redis.crc import key_slot

from tests.integration.limiter.serving import PATIENT_MS, Limiter, request, running, text
from tests.support.redis_cluster import Node, RedisCluster, redis_cluster
from tests.support.wait import wait_until

META = Meta(cells=64)
LIMIT, OF_TENANT = 60, 4
RULES = f"""
namespaces:
  api:
    rules:
      - {{name: user, match: {{}}, limit: {OF_TENANT}, per: 2000d, algorithm: fixed_window}}
      - {{name: all, match: {{}}, limit: {LIMIT}, per: 2000d, algorithm: fixed_window, scope: platform}}
  smooth:
    rules:
      - {{name: user, match: {{}}, limit: {OF_TENANT}, per: 2000d}}
      - {{name: all, match: {{}}, limit: {LIMIT}, per: 2000d, scope: platform}}
      - {{name: log, match: {{}}, limit: {LIMIT}, per: 2000d, algorithm: sliding_window_log, scope: platform}}
  own:
    rules:
      - {{name: user, match: {{}}, limit: {OF_TENANT}, per: 2000d, algorithm: fixed_window}}
"""
TENANTS = [f"tenant-{number}" for number in range(120)]
PREFIX = META.prefix(META.cell_of(f"{PLATFORM}/api"))
RESERVED = reserved_key(PREFIX)
TTL_MS = 3_000
RECOVERY_S = 60.0
STRANDED = 6


def place_of(cluster: RedisCluster, prefix: str) -> int:
    return cluster.owner_index(key_slot(prefix.encode()))


def tenants_of(cluster: RedisCluster, primary: int) -> list[str]:
    """Those whose own rules are kept there."""
    return [name for name in TENANTS if place_of(cluster, META.prefix(META.cell_of(name))) == primary]


async def permits(redis: Redis) -> int:
    """Permits that the platform rule of `api` says are taken."""
    (key,) = await redis.keys(f"{PREFIX}:lim:{PLATFORM}:api/*")
    return int(text(await redis.get(key) or "").rpartition(":")[2])


async def ask(limiter: Limiter, tenant: str, namespace: str = "api") -> int | None:
    """Permits granted, 0 or 1; None: there was no answer."""
    try:
        return (await limiter.of(tenant).consume(request(namespace, user="x"))).permits
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return None


async def spend(limiters: Sequence[Limiter], tenants: Sequence[str], namespace: str = "api") -> Counter[str]:
    """Ask for all tenants, one round after the other, until nobody is granted anything; what each was."""
    granted: Counter[str] = Counter()
    while True:
        asking = (ask(limiters[number % len(limiters)], tenant, namespace) for number, tenant in enumerate(tenants))
        told = await asyncio.gather(*asking)
        granted.update({tenant: found for tenant, found in zip(tenants, told, strict=True) if found})
        if None not in told and not sum(found or 0 for found in told):
            return granted


@asynccontextmanager
async def process(cluster: RedisCluster, folder: Path, **settings: object) -> AsyncIterator[tuple[Limiter, Child]]:
    """A limiter that can be killed."""
    file, address = folder / "rules.yaml", f"127.0.0.1:{free_port()}"
    file.write_text(RULES)
    told = {"redis_timeout_ms": PATIENT_MS, "reservation_ttl_ms": TTL_MS, **settings}
    service = services.limiter("limiter", address=address, redis=RedisBackend(cluster.url, "store"), rules=file, **told)
    async with services.running(service, timeout_s=60) as child, grpc.aio.insecure_channel(address) as channel:
        yield Limiter(channel), child


async def stands(node: Node, count: int) -> None:
    """Until so many reservations do."""

    async def there() -> bool:
        return int(await node.redis.zcard(RESERVED)) == count

    await wait_until(there, RECOVERY_S, what=f"{count} reservations")


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[RedisCluster]:
    async with redis_cluster() as cluster:
        yield cluster


@pytest.fixture
async def cluster(shared: RedisCluster) -> RedisCluster:
    for node in shared.primaries:
        await node.redis.flushall()
    return shared


@pytest.mark.parametrize("namespace", ["api", "smooth"])
async def test_many_tenants_on_three_limiters_share_a_limit_to_the_permit(
    cluster: RedisCluster, tmp_path: Path, namespace: str
) -> None:
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    settings = {"reservation_ttl_ms": 60_000}
    async with (
        process(cluster, folders[0], **settings) as one,
        process(cluster, folders[1], **settings) as two,
        process(cluster, folders[2], **settings) as three,
    ):
        limiters = [one[0], two[0], three[0]]
        crowd = [TENANTS[number % len(TENANTS)] for number in range(1_000)]
        told = await asyncio.gather(
            *(ask(limiters[number % 3], tenant, namespace) for number, tenant in enumerate(crowd))
        )
        granted = Counter(tenant for tenant, found in zip(crowd, told, strict=True) if found)
        assert granted.total() <= LIMIT
        # Some were refused for the sake of reservations that came back: what is left goes to whoever asks then.
        granted += await spend(limiters, TENANTS, namespace)
        assert granted.total() == LIMIT
        assert max(granted.values()) <= OF_TENANT
        looked = await one[0].of("another").check(request(namespace, user="x"))
        assert all(rule.remaining == 0 for rule in looked.rules if rule.rule != "user")
        for tenant in TENANTS[:10]:  # of their own rules no refused request has taken anything
            own = (await two[0].of(tenant).check(request(namespace, user="x"))).rules[0]
            assert (own.rule, own.remaining) == ("user", OF_TENANT - granted[tenant])


async def test_what_a_killed_limiter_had_reserved_comes_back_and_nothing_else(
    cluster: RedisCluster, tmp_path: Path
) -> None:
    place = place_of(cluster, PREFIX)
    frozen = cluster.primaries[(place + 1) % 3]
    platform, stranded = cluster.primaries[place], tenants_of(cluster, (place + 1) % 3)[:STRANDED]
    others = [tenant for tenant in TENANTS if tenant not in stranded]
    async with running(cluster.url, RULES, reservation_ttl_ms=TTL_MS) as survivor:
        before = [await ask(survivor, tenant) for tenant in others[:10]]
        async with process(cluster, tmp_path, reservation_ttl_ms=5_000) as (limiter, child):
            assert await ask(limiter, others[11]) == 1
            try:
                frozen.signal(signal.SIGSTOP)
                asking = [asyncio.ensure_future(ask(limiter, tenant)) for tenant in stranded]
                await stands(platform, STRANDED)
                assert await permits(platform.redis) == sum(filter(None, before)) + 1 + STRANDED
                await child.kill()
            finally:
                frozen.signal(signal.SIGCONT)
            assert await asyncio.gather(*asking) == [None] * STRANDED
        await stands(platform, 0)
        assert await permits(platform.redis) == sum(filter(None, before)) + 1
        granted = await spend([survivor], TENANTS)
    assert granted.total() == LIMIT - 11
    assert await permits(platform.redis) == LIMIT


async def test_a_tenants_primary_that_dies_between_the_steps_takes_nothing_from_the_platform() -> None:
    async with redis_cluster() as cluster:
        place = place_of(cluster, PREFIX)
        dying, platform = cluster.primaries[(place + 1) % 3], cluster.primaries[place]
        lost = tenants_of(cluster, (place + 1) % 3)
        rest = [tenant for tenant in TENANTS if tenant not in lost]
        async with running(cluster.url, RULES, reservation_ttl_ms=60_000) as limiter:
            before = [await ask(limiter, tenant) for tenant in TENANTS[:10]]
            assert before == [1] * 10
            dying.signal(signal.SIGSTOP)
            asking = [asyncio.ensure_future(ask(limiter, tenant)) for tenant in lost[:STRANDED]]
            await stands(platform, STRANDED)
            assert await ask(limiter, rest[-1]) == 1  # who has nothing to do with it goes on
            dying.kill()
            assert await asyncio.gather(*asking) == [None] * STRANDED
            await stands(platform, 0)
            assert await permits(platform.redis) == 11
            granted = await spend([limiter], rest)
        assert granted.total() == LIMIT - 11
        assert await permits(platform.redis) == LIMIT


async def test_a_platforms_primary_that_dies_is_followed_by_its_replica() -> None:
    async with redis_cluster(replicas=True) as cluster:
        place = place_of(cluster, PREFIX)
        replica = cluster.replicas[place].redis
        rest = [tenant for tenant in TENANTS if tenant not in tenants_of(cluster, place)]
        async with running(cluster.url, RULES, redis_timeout_ms=2_000, reservation_ttl_ms=TTL_MS) as limiter:
            granted: Counter[str] = Counter()
            failed = asyncio.Event()

            async def load() -> None:
                for tenant in rest * OF_TENANT:
                    found = await ask(limiter, tenant)
                    granted[tenant] += found or 0
                    if found is None:
                        failed.set()
                        return

            loads = [asyncio.ensure_future(load()) for _ in range(4)]
            await wait_until(lambda: granted.total() > LIMIT // 4, RECOVERY_S, what="some permits")
            cluster.primaries[place].kill()
            await asyncio.gather(*loads)
            assert failed.is_set()
            known = await permits(replica)
            # What was confirmed in the replication lag may stand there still, and comes back.
            forgotten = max(0, granted.total() - known) + int(await replica.zcard(RESERVED))

            assert [await ask(limiter, tenant, "own") for tenant in rest[:10]] == [1] * 10

            async def back() -> bool:
                found = await ask(limiter, rest[-1])
                granted[rest[-1]] += found or 0
                return found is not None

            await wait_until(back, RECOVERY_S, what="the replica to be asked", period_s=0.1)

            async def nothing_reserved() -> bool:
                return int(await replica.zcard(RESERVED)) == 0

            await wait_until(nothing_reserved, RECOVERY_S, what="the reservations to end")
            granted += await spend([limiter], rest)
            assert granted.total() <= LIMIT + forgotten
            assert await permits(replica) == LIMIT
