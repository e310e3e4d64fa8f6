"""When one of a request's two cells cannot be asked, its own rules say what happens, and the other's hold as ever."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count

import grpc
import pytest
from headworks.limiter.v1.limiter_pb2 import REFUSAL_LIMITED, REFUSAL_STORE_FAILURE, Decision
from headworks_core.cells import Meta
from headworks_limiter.domain.rule import PLATFORM, reserved_key
from redis.crc import key_slot

from tests.integration.limiter.serving import Limiter, request, running
from tests.support.redis_cluster import Node, RedisCluster, redis_cluster
from tests.support.wait import wait_until

META = Meta(cells=64)
WISHES = ("error", "deny", "allow", "local")
LIMIT = 5
TIMEOUT_MS = 400
RECOVERY_S = 60.0


def prefix_of(namespace: str) -> str:
    return META.prefix(META.cell_of(f"{PLATFORM}/{namespace}"))


def index_of(prefix: str) -> int:
    """The primary of three that has a cell."""
    return key_slot(prefix.encode()) * 3 // 16_384


def at_first(wish: str) -> str:
    """A namespace whose platform rules are on the first primary."""
    return next(name for number in count() if index_of(prefix_of(name := f"{wish}-{number}")) == 0)


NAMESPACES = {wish: at_first(wish) for wish in WISHES}
TENANT = next(name for number in count() if index_of(META.prefix(META.cell_of(name := f"tenant-{number}"))) == 1)
RULES = "namespaces:\n" + "\n".join(
    f"""  {name}:
    rules:
      - {{name: user, match: {{user: "*"}}, limit: {LIMIT}, per: 2000d, on_store_failure: {wish}}}
      - {{name: all, match: {{}}, limit: {3 * LIMIT}, per: 2000d, scope: platform, on_store_failure: {wish}}}"""
    for wish, name in NAMESPACES.items()
)


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[RedisCluster]:
    # Long enough for nobody to be taken for dead who is only frozen.
    async with redis_cluster(options={"cluster-node-timeout": "60000"}) as made:
        yield made


@pytest.fixture
async def limiter(cluster: RedisCluster) -> AsyncIterator[Limiter]:
    for node in cluster.primaries:
        await node.redis.flushall()
    async with running(cluster.url, RULES, redis_timeout_ms=TIMEOUT_MS, reservation_ttl_ms=2_000) as client:
        for name in NAMESPACES.values():
            await client.of(TENANT).consume(request(name, user="ann", _permits=LIMIT))
            await client.of(TENANT).consume(request(name, user="bob"))
        yield client


@contextmanager
def frozen(node: Node) -> Iterator[None]:
    """A server that is there and does not answer."""
    node.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        node.signal(signal.SIGCONT)


async def consume(limiter: Limiter, wish: str, user: str, permits: int = 1, request_id: str = "") -> Decision | None:
    """The decision; None: UNAVAILABLE."""
    asked = request(NAMESPACES[wish], user=user, _permits=permits, _request_id=request_id)
    try:
        return await limiter.of(TENANT).consume(asked)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return None


async def left(limiter: Limiter, wish: str, user: str) -> dict[str, int]:
    """Permits that the rules have, once all reservations have ended."""
    found: dict[str, int] = {}

    async def told() -> bool:
        try:
            looked = await limiter.of(TENANT).check(request(NAMESPACES[wish], user=user))
        except grpc.aio.AioRpcError:
            return False
        found.update({rule.rule: rule.remaining for rule in looked.rules})
        return len(looked.rules) == 2

    await wait_until(told, RECOVERY_S, what="both cells to answer")
    return found


async def nothing_reserved(cluster: RedisCluster) -> None:
    """Until no reservation stands."""
    keys = [reserved_key(prefix_of(name)) for name in NAMESPACES.values()]

    async def ended() -> bool:
        return not any([await cluster.primaries[0].redis.zcard(key) for key in keys])

    await wait_until(ended, RECOVERY_S, what="all reservations to end")


async def test_the_platforms_cell_is_away(cluster: RedisCluster, limiter: Limiter) -> None:
    with frozen(cluster.primaries[0]):
        told = dict(zip(WISHES, await asyncio.gather(*(consume(limiter, wish, "bob") for wish in WISHES)), strict=True))
        spent = await asyncio.gather(*(consume(limiter, wish, "ann") for wish in WISHES))
    assert told["error"] is None
    assert told["deny"] is not None
    assert (told["deny"].allowed, told["deny"].refusal) == (False, REFUSAL_STORE_FAILURE)
    for wish in ("allow", "local"):
        decision = told[wish]
        assert decision is not None
        assert (decision.allowed, decision.degraded) == (True, True)
    for each in spent:  # a refusal of the tenant's own rules is certain
        assert each is not None
        assert (each.allowed, each.refusal, each.governing.rule) == (False, REFUSAL_LIMITED, "user")
    for wish in WISHES:
        taken = 1 if wish in ("allow", "local") else 0
        assert (await left(limiter, wish, "bob"))["user"] == LIMIT - 1 - taken

    await nothing_reserved(cluster)
    for wish in WISHES:
        assert (await left(limiter, wish, "bob"))["all"] == 3 * LIMIT - LIMIT - 1


async def test_the_tenants_cell_is_away(cluster: RedisCluster, limiter: Limiter) -> None:
    with frozen(cluster.primaries[1]):
        told = dict(zip(WISHES, await asyncio.gather(*(consume(limiter, wish, "eve") for wish in WISHES)), strict=True))
        much = [await consume(limiter, wish, "eve", LIMIT) for wish in ("allow", "allow", "allow")]
    assert told["error"] is None
    assert told["deny"] is not None
    assert (told["deny"].allowed, told["deny"].refusal) == (False, REFUSAL_STORE_FAILURE)
    for wish in ("allow", "local"):
        decision = told[wish]
        assert decision is not None
        assert (decision.allowed, decision.degraded) == (True, True)
        assert [rule.rule for rule in decision.rules] == ["all"]
    first, last = much[0], much[2]
    assert first is not None
    assert last is not None
    assert (first.allowed, last.allowed, last.governing.rule) == (True, False, "all")  # which holds as ever
    for wish, taken in {"error": 0, "deny": 0, "allow": 1 + LIMIT, "local": 1}.items():
        assert (await left(limiter, wish, "eve"))["all"] == 3 * LIMIT - LIMIT - 1 - taken, wish


async def test_a_request_whose_confirmation_was_lost_takes_once_when_it_is_sent_again(
    cluster: RedisCluster, limiter: Limiter
) -> None:
    same = str(uuid.uuid4())
    platform = cluster.primaries[0]
    key = reserved_key(prefix_of(NAMESPACES["error"]))
    await nothing_reserved(cluster)

    async def reserved() -> bool:
        return bool(await platform.redis.zcard(key))

    with frozen(cluster.primaries[1]):
        asking = asyncio.ensure_future(consume(limiter, "error", "eve", 1, same))
        await wait_until(reserved, RECOVERY_S, what="the reservation")
        platform.signal(signal.SIGSTOP)
    try:
        assert await asking is None
    finally:
        platform.signal(signal.SIGCONT)
    for _ in range(2):
        await nothing_reserved(cluster)
        again: list[Decision] = []

        async def answered() -> bool:
            decision = await consume(limiter, "error", "eve", 1, same)
            again.extend([decision] if decision else [])  # noqa: B023 - waited for below
            return decision is not None

        await wait_until(answered, RECOVERY_S, what="both cells to answer")
        assert (again[-1].allowed, again[-1].permits) == (True, 1)
        assert await left(limiter, "error", "eve") == {"user": LIMIT - 1, "all": 3 * LIMIT - LIMIT - 1 - 1}
