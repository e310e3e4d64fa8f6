"""What operators see of rules and buckets, and that a reset is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from headworks_client import LimiterClient, SyncLimiterClient
from headworks_core.errors import InvalidArgument, NotFound, Reason, Unavailable
from redis.asyncio import Redis

from tests.integration.limiter.serving import running
from tests.support.ports import free_port
from tests.support.proxy import proxy

RULES = """
namespaces:
  api:
    rules:
      - name: user
        match: {user: "*"}
        limit: 10/day
        overrides:
          - {match: {plan: premium}, limits: [20/day, 50/week]}
          - {tenant: internal, limit: unlimited}
      - {name: reads, match: {user: "*", route: GET /api/**}, limit: 5/day, algorithm: fixed_window, shadow: true}
      - {name: ip, match: {ip: "*"}, limit: 100/day, algorithm: sliding_window_counter}
"""


@pytest.fixture(params=["redis", "memory"])
async def address(request: pytest.FixtureRequest, redis: Redis, valkey_url: str) -> AsyncIterator[str]:
    chosen = f"127.0.0.1:{free_port()}"
    async with running(valkey_url if request.param == "redis" else "memory:", RULES, address=chosen):
        yield chosen


async def test_every_rule_is_explained_and_nothing_changes(address: str) -> None:
    async with LimiterClient(address) as client:
        await client.consume("api", {"user": "ann"}, 3)
        for _ in range(2):
            user, reads, ip = await client.explain("api", {"user": "ann", "route": "POST /x"})
            assert (user.rule, user.why_not, user.overridden) == ("user", "", False)
            assert user.status is not None
            assert (user.status.limit, user.status.remaining, user.status.allowed) == (10, 7, True)
            assert (reads.why_not, reads.status) == ("route is not GET /api/**", None)
            assert ip.why_not == "ip is missing"
        _, trial, _ = await client.explain("api", {"user": "ann", "route": "GET /api/7"})
        assert trial.status is not None
        assert (trial.status.shadow, trial.status.remaining) == (True, 5)


async def test_overrides_are_told(address: str) -> None:
    async with LimiterClient(address) as client, LimiterClient(address, tenant="internal") as internal:
        premium = await client.explain("api", {"user": "ann", "plan": "premium"})
        assert [(rule.rule, rule.overridden) for rule in premium[:2]] == [("user.1d", True), ("user.1w", True)]
        assert [rule.status and rule.status.limit for rule in premium[:2]] == [20, 50]
        (unlimited, *_) = await internal.explain("api", {"user": "ann"})
        assert (unlimited.why_not, unlimited.overridden, unlimited.status) == ("an override stands for it", True, None)


async def test_a_reset_makes_buckets_full_again_also_where_a_refusal_was_remembered(address: str) -> None:
    asked = {"user": "ann", "ip": "::1"}
    async with LimiterClient(address) as client:
        assert (await client.consume("api", asked, 10)).allowed
        assert not (await client.consume("api", asked, 1)).allowed
        assert await client.reset("api", asked, rule="user") == ["user"]
        assert (await client.consume("api", asked, 4)).allowed
        user, _, ip = await client.explain("api", asked)
        assert [rule.status and rule.status.remaining for rule in (user, ip)] == [6, 86]
        assert await client.reset("api", asked) == ["user", "ip"]
        user, _, ip = await client.explain("api", asked)
        assert [rule.status and rule.status.remaining for rule in (user, ip)] == [10, 100]
        assert await client.reset("api", {"nobody": "x"}) == []


async def test_other_values_and_tenants_keep_what_they_have(address: str) -> None:
    async with LimiterClient(address) as client, LimiterClient(address, tenant="other") as other:
        for each in (client, other):
            await each.consume("api", {"user": "ann"}, 4)
        await client.consume("api", {"user": "bob"}, 4)
        await client.reset("api", {"user": "ann"})
        for each, user in ((client, "bob"), (other, "ann")):
            status = (await each.explain("api", {"user": user}))[0].status
            assert status is not None
            assert status.remaining == 6


async def test_what_cannot_be_reset_is_said(address: str) -> None:
    async with LimiterClient(address) as client:
        with pytest.raises(NotFound) as missing:
            await client.reset("api", {"user": "ann"}, rule="ip")
        assert missing.value.reason is Reason.RULE_NOT_FOUND
        with pytest.raises(InvalidArgument, match="rule: must match"):
            await client.reset("api", {"user": "ann"}, rule="x" * 86)
        with pytest.raises(NotFound) as nowhere:
            await client.explain("nowhere", {"user": "ann"})
        assert nowhere.value.reason is Reason.NAMESPACE_NOT_FOUND


async def test_blocking_clients_can_too(address: str) -> None:
    def ask() -> tuple[list[str], int]:
        with SyncLimiterClient(address) as client:
            client.consume("api", {"user": "ann"}, 4)
            status = client.explain("api", {"user": "ann"})[0].status
            assert status is not None
            return client.reset("api", {"user": "ann"}), status.remaining

    assert await asyncio.to_thread(ask) == (["user"], 6)


async def test_without_the_store_it_is_unavailable_whatever_the_rules_want(redis: Redis, valkey_url: str) -> None:
    chosen = f"127.0.0.1:{free_port()}"
    rules = RULES.replace("limit: 10/day", "limit: 10/day\n        on_store_failure: allow")
    async with proxy(valkey_url.partition("//")[2].partition("/")[0]) as between:
        url = f"redis://{between.address}/0"
        async with running(url, rules, address=chosen, redis_timeout_ms=200), LimiterClient(chosen) as client:
            assert await client.explain("api", {"user": "ann"})
            between.refuse()
            between.cut()
            with pytest.raises(Unavailable):
                await client.explain("api", {"user": "ann"})
            with pytest.raises(Unavailable):
                await client.reset("api", {"user": "ann"})
            await between.accept()
