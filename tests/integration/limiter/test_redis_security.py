"""TLS to Redis, verified on both sides, and users that may do only what they must."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from headworks.limiter.v1.admin_service_pb2 import GetRulesRequest, ResetBucketsRequest, SetRulesRequest
from headworks.limiter.v1.admin_service_pb2_grpc import LimiterAdminServiceStub
from headworks_core.errors import FailedPrecondition, Unavailable
from headworks_core.store import redis_client
from headworks_devkit.backends import RedisBackend
from headworks_devkit.backends.valkey import valkey
from redis.asyncio import Redis

from tests.integration.limiter.serving import refused_at_start, request, running
from tests.support.http import scrape, value
from tests.support.ports import free_port
from tests.support.redis_cluster import redis_cluster, watched
from tests.support.tls_front import Certificates, certificates, tls_front

DOCS = Path(__file__).parents[3] / "docs" / "redis.md"
RULES = """
namespaces:
  api: {rules: [{name: a, match: {user: '*'}, limit: 4/day}]}
  shared: {rules: [{name: own, match: {}, limit: 4/day}, {name: all, match: {}, limit: 9/day, scope: platform}]}
"""
REQUEST_ID = "6f2c1e1e-0d6a-4c7b-9a51-0b6c8f3f2a10"


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[RedisBackend]:
    async with valkey() as backend:
        yield backend


@pytest.fixture(scope="module")
async def front(server: RedisBackend, signed: Certificates) -> AsyncIterator[str]:
    async with tls_front(signed.server, lambda: ("127.0.0.1", port_of(server.url))) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


async def test_both_sides_are_verified(front: str, signed: Certificates, tmp_path: Path) -> None:
    async with running(f"rediss://{front}/0{signed.options(signed.client)}", RULES) as limiter:
        assert (await limiter.consume(request(user="tls"))).allowed
    # Who does not trust the authority, has no certificate, one of a stranger, or takes the server for another.
    for options in ("", signed.options(), signed.options(signed.stranger)):
        await refused_at_start(f"rediss://{front}/0{options}", Unavailable, f"Redis at {front} cannot be reached")
    await refused_at_start(
        f"rediss://localhost:{port_of(front)}/0{signed.options(signed.client)}", Unavailable, "cannot be reached"
    )


def documented(user: str) -> list[str]:
    """The rules of a user's ACL, as docs/redis.md has them."""
    found = re.search(rf"^ACL SETUSER {user} on >\S+ (.*)$", DOCS.read_text(), re.MULTILINE)
    assert found is not None
    return found[1].split()


async def set_user(redis: Redis, rules: list[str]) -> None:
    execute: Any = redis.execute_command
    await execute("ACL", "SETUSER", "limiter", "reset", "on", ">secret", *rules)


def as_user(url: str) -> str:
    return url.replace("://", "://limiter:secret@")


async def use_everything(url: str) -> None:
    """Ask a limiter whatever reaches Redis."""
    page = f"127.0.0.1:{free_port()}"
    async with running(url, RULES, metrics_address=page) as limiter:
        assert (await limiter.consume(request(user="x"))).allowed
        assert (await limiter.consume(request(user="x", _request_id=REQUEST_ID))).allowed
        assert (await limiter.consume(request(user="x", _request_id=REQUEST_ID))).replayed
        assert (await limiter.check(request(user="x"))).governing.remaining == 2
        await limiter.consume(request("shared", user="x", _permits=3))
        assert (await limiter.consume(request("shared", user="x", _permits=2, _allow_partial=True))).permits == 1
        assert not (await limiter.consume(request("shared", user="x"))).allowed
        admin: Any = LimiterAdminServiceStub(limiter.channel)
        text = "rules: [{name: b, match: {}, limit: 1/day}]"
        for number in range(12):  # more than are kept
            await admin.SetRules(SetRulesRequest(namespace="put", text=f"{text} # {number}"))
        assert (await admin.GetRules(GetRulesRequest(namespace="put"))).rules.version.version == 12
        assert value(await scrape(page), "headworks_limiter_store_keys") > 0
        asked = ResetBucketsRequest(namespace="api", descriptors={"user": "x"})
        reply = await admin.ResetBuckets(asked, metadata=(("headworks-tenant", "default"),))
        assert list(reply.rules) == ["a"]


async def denied(redis: Redis) -> list[Any]:
    """What the server has refused somebody since it was asked last."""
    execute: Any = redis.execute_command
    entries = await execute("ACL", "LOG")
    await execute("ACL", "LOG", "RESET")
    return list(entries)


async def test_the_documented_user_may_do_all_that_a_limiter_does(server: RedisBackend) -> None:
    async with redis_client(server.url, timeout_s=10) as redis:
        await redis.flushall()
        await denied(redis)
        await set_user(redis, documented("limiter"))
        await use_everything(as_user(server.url))
        assert await denied(redis) == []


async def test_the_documented_user_will_do_for_a_cluster_whose_servers_speak_tls(signed: Certificates) -> None:
    behind: list[int] = []
    async with (
        tls_front(signed.server, lambda: ("127.0.0.1", behind[0])) as port,
        redis_cluster(primaries=1, options={"cluster-announce-port": str(port)}) as cluster,
    ):
        (node,) = cluster.primaries
        behind.append(node.port)
        await set_user(node.redis, documented("limiter"))
        await use_everything(f"rediss+cluster://limiter:secret@127.0.0.1:{port}{signed.options(signed.client)}")
        assert await denied(node.redis) == []
        url = f"rediss+cluster://limiter:secret@127.0.0.1:{port}{signed.options()}"
        await refused_at_start(url, Unavailable, "cannot be reached")


async def test_documented_users_will_do_behind_sentinels() -> None:
    rules = re.search(r"^At the sentinels: `(.*)`", DOCS.read_text(), re.MULTILINE)
    assert rules is not None
    async with watched(sentinels=1) as world:
        async with redis_client(f"redis://{world.sentinels[0]}", timeout_s=10) as sentinel:
            await set_user(sentinel, rules[1].split())
            await set_user(world.primary.redis, documented("limiter"))
            await use_everything(f"{as_user(world.url)}?sentinel_username=limiter&sentinel_password=secret")
            assert await denied(sentinel) == await denied(world.primary.redis) == []
        await refused_at_start(
            f"{as_user(world.url)}?sentinel_username=limiter&sentinel_password=wrong",
            FailedPrecondition,
            "refuses the user",
        )


async def test_each_permission_that_is_missing_is_named_at_start(server: RedisBackend) -> None:
    rules = documented("limiter")
    needed = {rule.removeprefix("+") for rule in rules if rule.startswith("+")}
    needed -= {"client|setinfo", "asking", "cluster|slots", "cluster|info"}  # courtesy; a cluster's
    assert needed > {"eval", "evalsha", "info", "set"}
    async with redis_client(server.url, timeout_s=10) as redis:
        await redis.flushall()
        for command in sorted(needed):
            await set_user(redis, [*rules, f"-{command}"])
            await refused_at_start(as_user(server.url), FailedPrecondition, f"(?i)(may not use |run the '){command}")
        for pattern in (rule for rule in rules if rule.startswith("~")):
            await set_user(redis, [rule for rule in rules if rule != pattern])
            await refused_at_start(as_user(server.url), FailedPrecondition, "No permissions to access a key|may not")
