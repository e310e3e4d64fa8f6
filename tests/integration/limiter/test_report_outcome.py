"""What callers report of their upstreams changes what is granted, by the rules that the request meets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from headworks_client import LimiterClient
from headworks_core.errors import InvalidArgument, NotFound, Reason
from redis.asyncio import Redis

from tests.integration.limiter.serving import running
from tests.support.wait import wait_until

RULES = """
namespaces:
  out:
    rules:
      - {name: provider, match: {host: "*"}, limit: 100/minute}
      - {name: all, match: {host: "*"}, limit: 30/second, upstream: ignore}
  guarded:
    rules:
      - {name: health, match: {host: "*"}, algorithm: circuit_breaker, failures: 50%, calls: 4, open: 300ms, probes: 1}
  learnt:
    rules:
      - {name: flow, match: {host: "*"}, algorithm: adaptive, limit: 10, least: 2, latency: 500ms}
"""
HOST = {"host": "h"}


@pytest.fixture(params=["redis", "memory"])
async def client(request: pytest.FixtureRequest, redis: Redis, valkey_url: str) -> AsyncIterator[LimiterClient]:
    url = valkey_url if request.param == "redis" else "memory:"
    async with running(url, RULES) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        yield client


async def test_a_429_blocks_the_rules_that_learn_for_as_long_as_the_upstream_says(client: LimiterClient) -> None:
    assert (await client.consume("out", HOST)).allowed
    told = await client.report_outcome("out", HOST, 429, {"Retry-After": "30"})
    assert (told.rules, 29 < told.blocked_for_s <= 30) == (("provider",), True)
    refused = await client.consume("out", HOST, detail_all=True)
    assert [(rule.rule, rule.allowed) for rule in refused.rules] == [("provider", False), ("all", True)]
    assert refused.governing is not None
    assert (refused.allowed, refused.governing.remaining) == (False, 0)
    assert 28 < refused.retry_after_s <= 30
    assert (await client.consume("out", {"host": "other"})).allowed
    shorter = await client.report_outcome("out", HOST, 429, {"Retry-After": "1"})
    assert shorter.blocked_for_s > 20


async def test_a_block_ends_by_itself(client: LimiterClient) -> None:
    await client.report_outcome("out", HOST, 429, {"Retry-After-Ms": "300"})

    async def granted() -> bool:
        return (await client.consume("out", HOST)).allowed

    await wait_until(granted, 10, what="a grant")


async def test_what_the_upstream_says_is_left_is_what_is_left(client: LimiterClient) -> None:
    headers = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "60"}
    told = await client.report_outcome("out", HOST, 200, headers)
    assert (told.blocked_for_s, told.rules) == (0, ("provider",))
    assert (await client.check("out", HOST, 7)).allowed
    assert not (await client.check("out", HOST, 9)).allowed


async def test_a_breaker_opens_on_failures_and_closes_after_a_good_trial(client: LimiterClient) -> None:
    for status in (200, 500, 200, 0):
        assert (await client.consume("guarded", HOST)).allowed
        await client.report_outcome("guarded", HOST, status)
    refused = await client.consume("guarded", HOST)
    assert not refused.allowed
    assert 0 < refused.retry_after_s <= 0.3

    async def tried() -> bool:
        return (await client.consume("guarded", HOST)).allowed

    await wait_until(tried, 10, what="a trial")
    await client.report_outcome("guarded", HOST, 200)
    assert [(await client.consume("guarded", HOST)).allowed for _ in range(5)] == [True] * 5


async def test_an_adaptive_limit_falls_with_overload_and_slow_answers_and_grows_with_success(
    client: LimiterClient,
) -> None:
    async def limit() -> int:
        decision = await client.check("learnt", HOST)
        assert decision.governing is not None
        return decision.governing.remaining

    assert await limit() == 10
    await client.report_outcome("learnt", HOST, 429)
    assert await limit() == 9
    await client.report_outcome("learnt", HOST, 200, latency_s=0.6)
    assert await limit() == 8
    for _ in range(20):
        await client.report_outcome("learnt", HOST, 503)
    assert await limit() == 2
    grants = [await client.consume("learnt", HOST) for _ in range(2)]
    assert not (await client.consume("learnt", HOST)).allowed
    for _ in range(2):
        await client.report_outcome("learnt", HOST, 200, latency_s=0.1)
    assert [await client.release(grant.grant_id) for grant in grants] == [True, True]
    assert await limit() == 2
    assert not (await client.report_outcome("learnt", HOST, 404)).rules


async def test_reports_that_are_wrong_change_nothing(client: LimiterClient) -> None:
    with pytest.raises(InvalidArgument, match="status: must be 100 to 599, or 0 for no answer"):
        await client.report_outcome("out", HOST, 42)
    with pytest.raises(NotFound) as missing:
        await client.report_outcome("other", HOST, 200)
    assert missing.value.reason is Reason.NAMESPACE_NOT_FOUND
    assert (await client.consume("out", HOST)).allowed
