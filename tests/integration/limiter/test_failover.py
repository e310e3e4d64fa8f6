"""A primary dies, its replica takes over: the limiter follows by itself, and what it grants stays within the bound.

Replication is asynchronous, so a failover loses the writes that the primary had acknowledged and not yet sent. A bucket
may grant those permits again, and no others: granted <= limit + what the replica had not heard of.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import grpc
from headworks_core.cells import Meta
from headworks_core.errors import FailedPrecondition, Unavailable
from headworks_core.store import redis_client
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.integration.limiter.serving import Limiter, refused_at_start, request, running, text
from tests.support.redis_cluster import SERVICE, redis_cluster, watched
from tests.support.wait import wait_until

LIMIT = 60
RULES = f"""
namespaces:
  api:
    rules:
      - {{name: user, match: {{user: "*"}}, limit: {LIMIT}, per: 2000d, algorithm: fixed_window}}
"""
TIMEOUT_MS = 2_000
CALLERS = 24
RECOVERY_S = 60.0


class Load:
    """Callers who ask for a permit again and again, and count what they were granted."""

    def __init__(self, limiter: Limiter, tenants: Sequence[str]) -> None:
        self.granted: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._limiter = limiter
        self._tenants = tenants

    async def ask(self, tenant: str) -> bool:
        """One permit; whether there was an answer."""
        try:
            decision = await self._limiter.of(tenant).consume(request(user="x"))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            self.failed[tenant] += 1
            return False
        self.granted[tenant] += decision.permits
        return True

    async def round(self) -> bool:
        """One permit for each tenant; whether all have been answered."""
        return all(await asyncio.gather(*(self.ask(tenant) for tenant in self._tenants)))

    async def spend(self) -> None:
        """Ask until nothing can be left, whatever has been forgotten."""
        for _ in range(LIMIT + 1):
            await wait_until(self.round, RECOVERY_S, what="an answer for each tenant")

    async def until(self, done: Callable[[], bool]) -> None:
        """Rounds, one after the other."""
        while not done():
            await self.round()


async def taken(redis: Redis) -> Counter[str]:
    """Permits that a server knows to be taken, by tenant."""
    found: Counter[str] = Counter()
    for key in await redis.keys("*:lim:*"):
        value = await redis.get(key)
        assert isinstance(value, bytes)
        found[text(key).split(":")[3]] += int(value.rpartition(b":")[2])
    return found


async def kill_under_load(
    load: Load, kill: Callable[[], None], replica: Redis, lost: Sequence[str], back: Callable[[], Awaitable[bool]]
) -> None:
    """Kill the primary in the middle, wait for its replica to be used, spend what is left, and count."""
    asking = asyncio.ensure_future(load.until(lambda: bool(load.failed)))
    await wait_until(lambda: load.granted.total() > len(lost) * LIMIT // 4, RECOVERY_S, what="some permits")
    kill()
    await asking
    acknowledged = Counter(load.granted)
    known = await taken(replica)  # nobody has asked it for anything yet: it is no primary
    forgotten = {tenant: max(0, acknowledged[tenant] - known[tenant]) for tenant in lost}

    await wait_until(back, RECOVERY_S, what="the replica to be asked", period_s=0.1)
    await load.spend()
    assert not any(load.granted[tenant] > LIMIT + forgotten[tenant] for tenant in lost)
    # What is spent is what the replica has counted from then on: a permit whose reply was lost may be missing, no more.
    counted = await taken(replica)
    assert {tenant: counted[tenant] for tenant in lost} == dict.fromkeys(lost, LIMIT)


async def test_a_killed_primary_of_a_cluster_is_followed_by_its_replica() -> None:
    meta = Meta(cells=64)
    async with redis_cluster(replicas=True) as cluster:
        home = [
            (f"tenant-{number}", cluster.owner_index(key_slot(meta.prefix(meta.cell_of(f"tenant-{number}")).encode())))
            for number in range(CALLERS)
        ]
        lost = [tenant for tenant, index in home if index == 0]
        rest = [tenant for tenant, index in home if index != 0]
        async with running(cluster.url, RULES, redis_timeout_ms=TIMEOUT_MS) as limiter:
            load = Load(limiter, [tenant for tenant, _ in home])
            await kill_under_load(load, cluster.primaries[0].kill, cluster.replicas[0].redis, lost, load.round)
        assert {tenant: load.granted[tenant] for tenant in rest} == dict.fromkeys(rest, LIMIT)
        assert not any(load.failed[tenant] for tenant in rest)


async def test_a_killed_primary_is_followed_to_the_one_that_sentinels_have_promoted() -> None:
    async with watched() as world, running(world.url, RULES, redis_timeout_ms=TIMEOUT_MS) as limiter:
        load = Load(limiter, ["default"])
        await kill_under_load(load, world.primary.kill, world.replica.redis, ["default"], load.round)


async def test_a_planned_failover_is_followed_and_the_old_primary_left_alone() -> None:
    async with watched() as world, running(world.url, RULES, redis_timeout_ms=TIMEOUT_MS) as limiter:
        load = Load(limiter, ["default"])
        assert await load.round()
        async with redis_client(f"redis://{world.sentinels[0]}", timeout_s=10) as sentinel:
            await sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)  # type: ignore[no-untyped-call]

        async def follows() -> bool:
            try:
                role = (await world.replica.redis.info("replication"))["role"]
                before = await taken(world.replica.redis)
                return role == "master" and await load.round() and await taken(world.replica.redis) > before
            except RedisConnectionError:  # the sentinels close a promoted server's connections, this one too
                return False

        await wait_until(follows, RECOVERY_S, what="grants by the new primary")
        before, granted, failed = await taken(world.replica.redis), load.granted.total(), load.failed.total()
        await load.spend()
        # Whatever has been granted since then was counted by the new primary, so the old one was not asked.
        left, granted = LIMIT - before.total(), load.granted.total() - granted
        assert left - (load.failed.total() - failed) <= granted <= left
        assert await taken(world.replica.redis) == {"default": LIMIT}


async def test_what_sentinels_cannot_help_with_is_told_at_start() -> None:
    async with watched(sentinels=1, down_after_ms=60_000) as world:
        await refused_at_start(world.url.replace(f"/{SERVICE}", "/other"), FailedPrecondition, "know no service other")
        # What a sentinel says that has missed a failover: it still names the server that is a replica by now.
        await world.primary.redis.replicaof("127.0.0.1", str(world.replica.port))
        await world.replica.said("REPLICAOF", "NO", "ONE")
        await refused_at_start(world.url, FailedPrecondition, "names as primary, is a read-only replica")
        place = world.sentinels[0]
    await refused_at_start(world.url, Unavailable, f"Redis at {place} cannot be reached")
