"""A limiter on a Redis Cluster: every cell by its owner, and what happens to one owner is felt by its cells alone."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from headworks.limiter.v1.limiter_pb2 import REFUSAL_STORE_FAILURE
from headworks_core.cells import Meta
from headworks_core.errors import FailedPrecondition
from redis.crc import key_slot

from tests.integration.limiter.serving import Limiter, refused_at_start, request, running, text
from tests.support.listening import deaf, listening
from tests.support.redis_cluster import Node, RedisCluster, redis_cluster
from tests.support.wait import wait_until

META = Meta(cells=64)
LIMIT = 5
RULES = f"""
namespaces:
  api:
    rules:
      - {{name: user, match: {{user: "*"}}, limit: {LIMIT}, per: 2000d, algorithm: fixed_window}}
      - {{name: deny, match: {{deny: "*"}}, limit: {LIMIT}, per: 2000d, on_store_failure: deny}}
"""
ONLY_ERRORS = 'namespaces: {api: {rules: [{name: user, match: {user: "*"}, limit: 1000000, per: 2000d}]}}'
TIMEOUT_MS = 500
STORM_S = 2.5  # more than it takes a limiter to say that it is not ready
TENANTS = [f"tenant-{number}" for number in range(120)]


def slot_of(tenant: str) -> int:
    return key_slot(META.prefix(META.cell_of(tenant)).encode())


def tenants_of(cluster: RedisCluster, primary: int) -> list[str]:
    return [tenant for tenant in TENANTS if cluster.owner_index(slot_of(tenant)) == primary]


async def allowed(limiter: Limiter, tenant: str, **descriptors: str) -> bool | None:
    """Whether a permit is granted; None: the store could not be asked."""
    try:
        decision = await limiter.of(tenant).consume(request(**(descriptors or {"user": "x"})))
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return None
    return None if decision.degraded else decision.allowed


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[RedisCluster]:
    """A cluster that the tests leave as they found it, empty or not."""
    async with redis_cluster() as cluster:
        yield cluster


@pytest.fixture
async def cluster(shared: RedisCluster) -> RedisCluster:
    for node in shared.primaries:
        await node.redis.flushall()
    return shared


@pytest.fixture
async def limiter(cluster: RedisCluster) -> AsyncIterator[Limiter]:
    async with running(cluster.url, RULES) as client:
        yield client


async def test_every_tenant_has_its_limit_in_its_own_cell(cluster: RedisCluster, limiter: Limiter) -> None:
    asked = [tenant for tenant in TENANTS for _ in range(LIMIT + 2)]
    granted = Counter(
        tenant
        for tenant, yes in zip(asked, await asyncio.gather(*(allowed(limiter, each) for each in asked)), strict=True)
        if yes
    )
    assert granted == dict.fromkeys(TENANTS, LIMIT)
    found = [
        {text(key).partition(":lim:")[0] for key in await node.redis.keys("*:lim:*")} for node in cluster.primaries
    ]
    assert all(found)
    for index, prefixes in enumerate(found):
        assert {cluster.owner_index(key_slot(prefix.encode())) for prefix in prefixes} == {index}


async def test_a_cluster_has_64_cells_unless_it_is_told_otherwise(cluster: RedisCluster, limiter: Limiter) -> None:
    home = cluster.primaries[cluster.owner_index(key_slot(b"hw:meta"))]
    assert await home.redis.hget("hw:meta", "cells") == b"64"


async def test_flushed_scripts_and_cut_connections_cost_no_decision_that_was_not_under_way(
    cluster: RedisCluster, limiter: Limiter
) -> None:
    for node in cluster.primaries:
        await node.redis.script_flush()
    assert [await allowed(limiter, tenant) for tenant in TENANTS] == [True] * len(TENANTS)
    for node in cluster.primaries:
        await node.said("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await wait_until(lambda: all_answer(limiter, TENANTS), what="all to be answered again")


async def all_answer(limiter: Limiter, tenants: list[str]) -> bool:
    return None not in await asyncio.gather(*(allowed(limiter, tenant) for tenant in tenants))


async def _set_slot(cluster: RedisCluster, slot: int, owner: Node) -> None:
    identity = (await owner.said("CLUSTER", "MYID")).decode()
    for node in (owner, *cluster.primaries):
        await node.said("CLUSTER", "SETSLOT", slot, "NODE", identity)


async def test_a_cell_that_moves_to_another_server_is_followed_with_its_counts(
    cluster: RedisCluster, limiter: Limiter
) -> None:
    tenant = tenants_of(cluster, 0)[0]
    slot, old, new = slot_of(tenant), cluster.primaries[0], cluster.primaries[1]
    assert await allowed(limiter, tenant)

    # Half-way: the bucket of `x` has moved, others of the cell have not. Calls for one bucket are passed on (ASK) ...
    await new.said("CLUSTER", "SETSLOT", slot, "IMPORTING", (await old.said("CLUSTER", "MYID")).decode())
    await old.said("CLUSTER", "SETSLOT", slot, "MIGRATING", (await new.said("CLUSTER", "MYID")).decode())
    assert await allowed(limiter, tenant, user="stays") is True  # a new bucket: made where the slot goes to
    for key in await old.said("CLUSTER", "GETKEYSINSLOT", slot, 1_000):
        await old.said("MIGRATE", "127.0.0.1", new.port, key, 0, 5_000)
    assert await allowed(limiter, tenant) is True

    # ... and after it at once (MOVED).
    await _set_slot(cluster, slot, new)
    try:
        assert [await allowed(limiter, tenant) for _ in range(LIMIT)] == [True] * (LIMIT - 2) + [False] * 2
    finally:
        for key in await new.said("CLUSTER", "GETKEYSINSLOT", slot, 1_000):
            await new.redis.delete(key)
        await _set_slot(cluster, slot, old)


async def test_keys_on_both_sides_of_a_move_hold_up_their_own_cell_only(
    cluster: RedisCluster, limiter: Limiter
) -> None:
    moving, *others = tenants_of(cluster, 0)
    others = [tenant for tenant in others if slot_of(tenant) != slot_of(moving)]
    slot, old, new = slot_of(moving), cluster.primaries[0], cluster.primaries[1]
    assert await allowed(limiter, moving)
    await new.said("CLUSTER", "SETSLOT", slot, "IMPORTING", (await old.said("CLUSTER", "MYID")).decode())
    await old.said("CLUSTER", "SETSLOT", slot, "MIGRATING", (await new.said("CLUSTER", "MYID")).decode())
    try:
        for _ in range(10):  # `x` is still here, `deny` is not: neither side can answer (TRYAGAIN)
            assert await allowed(limiter, moving, user="x", deny="y") is None
        assert await all_answer(limiter, others)
    finally:
        for node in cluster.primaries:
            await node.said("CLUSTER", "SETSLOT", slot, "STABLE")
    assert await allowed(limiter, moving, user="x", deny="y") is True


async def test_a_missing_permission_on_one_of_the_servers_is_found_at_start(cluster: RedisCluster) -> None:
    for node in cluster.primaries:
        rules = ["+@all", "-mget"] if node is cluster.primaries[1] else ["+@all"]
        await node.said("ACL", "SETUSER", "service", "on", ">secret", "~*", "&*", *rules)
    url = cluster.url.replace("://", "://service:secret@")
    try:
        await refused_at_start(url, FailedPrecondition, "the user may not use MGET")
    finally:
        for node in cluster.primaries:
            await node.said("ACL", "DELUSER", "service")


async def test_one_server_of_several_is_not_taken_for_all(cluster: RedisCluster) -> None:
    url = f"redis://{cluster.primaries[0].place}"
    await refused_at_start(
        url, FailedPrecondition, r"spread over 3 servers; name them to a limiter as redis\+cluster://"
    )


async def test_a_cluster_with_a_slot_that_nobody_serves_is_refused(cluster: RedisCluster) -> None:
    for node in cluster.primaries:
        await node.said("CLUSTER", "DELSLOTS", 16_383)
    try:
        await refused_at_start(cluster.url, FailedPrecondition, "serves 16383 of 16384 slots")
    finally:
        await cluster.primaries[-1].said("CLUSTER", "ADDSLOTS", 16_383)
        await wait_until(lambda: _slots_seen(cluster), 30, what="the slot to be known again")


async def _slots_seen(cluster: RedisCluster) -> bool:
    said = [await node.said("CLUSTER", "INFO") for node in cluster.primaries]
    return all(b"cluster_slots_ok:16384" in each and b"cluster_state:ok" in each for each in said)


async def test_a_primary_that_stands_still_holds_up_nobody_elses_requests(
    cluster: RedisCluster, limiter: Limiter
) -> None:
    lost, rest = tenants_of(cluster, 1), [*tenants_of(cluster, 0), *tenants_of(cluster, 2)]
    cluster.primaries[1].signal(signal.SIGSTOP)
    try:
        stuck = [asyncio.ensure_future(allowed(limiter, tenant)) for tenant in lost]
        for _ in range(3):
            assert await all_answer(limiter, rest)
        assert not any(each.done() for each in stuck)
    finally:
        cluster.primaries[1].signal(signal.SIGCONT)
    assert await asyncio.gather(*stuck) == [True] * len(lost)


async def test_a_killed_primary_without_a_replica_fails_its_own_cells_and_no_others() -> None:
    async with redis_cluster() as cluster:
        needed = {cluster.owner_index(key_slot(key)) for key in (b"hw:meta", b"hw:limits")}  # to start
        dead = max({0, 1, 2} - needed)
        lost = tenants_of(cluster, dead)
        rest = [tenant for tenant in TENANTS if tenant not in lost]
        async with (
            running(cluster.url, RULES, redis_timeout_ms=TIMEOUT_MS) as limiter,
            running(cluster.url, ONLY_ERRORS, redis_timeout_ms=TIMEOUT_MS) as strict,
        ):
            assert await all_answer(limiter, TENANTS)
            load = asyncio.ensure_future(_ask_until_failed(limiter, lost, rest))
            cluster.primaries[dead].kill()
            await load
            decision = await limiter.of(lost[0]).consume(request(deny="y"))
            assert (decision.refusal, decision.degraded) == (REFUSAL_STORE_FAILURE, True)
            await _is_spared(limiter, strict, lost, cluster.primaries[dead].port)
            # A limiter that starts now serves the others too.
            async with running(cluster.url, RULES, redis_timeout_ms=TIMEOUT_MS) as later:
                await wait_until(lambda: all_answer(later, rest), 30, what="the others")
                assert await allowed(later, lost[0]) is None
            for node in cluster.primaries:
                if node is not cluster.primaries[dead]:
                    node.kill()
            await wait_until(lambda: not_ready(strict), 30, what="the limiter to say that it has no store")


async def _is_spared(limiter: Limiter, strict: Limiter, lost: list[str], port: int) -> None:
    """A server that takes connections and never answers is asked now and then, however many ask for its cells; and
    both limiters stay ready, for the others' cells."""
    connections = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await deaf(reader, writer)

    clock = asyncio.get_running_loop().time
    async with listening(accept, port=port):
        began, asked = clock(), 0
        while clock() < began + STORM_S:
            assert not any(await asyncio.gather(*(allowed(limiter, tenant) for tenant in lost)))
            asked += len(lost)
            assert await ready(strict)
    # Two limiters: their breakers let one call a pause through, their probes come twice a second.
    assert connections <= 10 + 10 * (clock() - began)
    assert asked > 2 * connections


async def ready(limiter: Limiter) -> bool:
    """What the limiter says of itself."""
    stub: Any = health_pb2_grpc.HealthStub(limiter.channel)
    reply = await stub.Check(health_pb2.HealthCheckRequest(service="readiness"))
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


async def not_ready(limiter: Limiter) -> bool:
    return not await ready(limiter)


async def _ask_until_failed(limiter: Limiter, lost: list[str], rest: list[str]) -> None:
    """All the time the rest are answered, until all that are lost have failed, three times over."""
    failed: Counter[str] = Counter()
    while min(failed[tenant] for tenant in lost) < 3:
        assert await all_answer(limiter, rest)
        for tenant in lost:
            if await allowed(limiter, tenant) is None:
                failed[tenant] += 1
