"""Cost tables and the trusted way past the rules, through a real limiter."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from headworks_client import LimiterAdminClient, LimiterClient, PermitRequest
from headworks_core.errors import InvalidArgument, Reason, ResourceExhausted, ServiceError
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.integration.limiter.serving import request, running, text
from tests.support.http import get, scrape, value
from tests.support.ports import free_port

TOKEN = "hunter2-hunter2-hunter2"
RULES = f"""
namespaces:
  api:
    rules:
      - {{name: user, match: {{user: "*"}}, limit: 50/day}}
      - {{name: small, match: {{user: "*", endpoint: POST /x}}, limit: 5/day}}
    costs:
      - {{match: {{endpoint: POST /api/export/**}}, permits: 10}}
      - {{match: {{endpoint: POST /x}}, permits: 6}}
    bypass:
      - {{name: on-call, match: {{break-glass: "sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"}}}}
"""
EXPORT = {"user": "ann", "endpoint": "POST /api/export/2026"}
PAST = {"user": "ann", "endpoint": "POST /x", "break-glass": TOKEN}


@pytest.fixture(params=["redis", "memory"])
async def address(request: pytest.FixtureRequest, redis: Redis, valkey_url: str) -> AsyncIterator[str]:
    chosen = f"127.0.0.1:{free_port()}"
    async with running(valkey_url if request.param == "redis" else "memory:", RULES, address=chosen):
        yield chosen


async def test_the_table_says_what_a_request_takes_unless_its_caller_does(address: str) -> None:
    async with LimiterClient(address) as client:
        decision = await client.consume("api", EXPORT)
        assert decision.governing is not None
        assert (decision.permits, decision.governing.remaining) == (10, 40)
        assert (await client.consume("api", EXPORT, 2)).permits == 2
        assert (await client.consume("api", {"user": "ann", "endpoint": "GET /"})).permits == 1
        batch = await client.consume_batch([PermitRequest("api", EXPORT), PermitRequest("api", EXPORT, 1)])
        assert [each.permits for each in batch if not isinstance(each, ServiceError)] == [10, 1]
        assert (await client.check("api", EXPORT)).allowed
        assert (await client.consume("api", EXPORT, 20)).allowed
        refused = await client.check("api", EXPORT)
        assert refused.governing is not None
        assert (refused.allowed, refused.governing.remaining) == (False, 6)
        with pytest.raises(InvalidArgument, match="permits 6 exceed the 5 that rule small can ever hold") as caught:
            await client.consume("api", {"user": "ann", "endpoint": "POST /x"})
        assert caught.value.reason is Reason.PERMITS_EXCEED_LIMIT


async def test_a_repeated_request_takes_the_tables_cost_once(address: str) -> None:
    once = "01890a5d-ac96-774b-bcce-b302099a8057"
    async with LimiterClient(address) as client:
        decisions = [await client.consume("api", EXPORT, request_id=once) for _ in range(3)]
        assert [(each.permits, each.replayed) for each in decisions] == [(10, False), (10, True), (10, True)]
        with pytest.raises(InvalidArgument) as caught:
            await client.consume("api", EXPORT, 10, request_id=once)
        assert caught.value.reason is Reason.REQUEST_ID_REUSED


async def test_operators_are_told_the_cost_and_the_bypass(address: str) -> None:
    async with LimiterAdminClient(address) as admin:
        found = await admin.inspect("api", EXPORT)
        assert (found.permits, found.bypass, [rule.rule for rule in found.rules]) == (10, "", ["user", "small"])
        past = await admin.inspect("api", PAST)
        assert (past.permits, past.bypass) == (6, "on-call")
        assert [rule.status and rule.status.remaining for rule in past.rules] == [50, 5]


async def test_who_has_the_secret_is_let_through_however_it_is_asked_and_takes_nothing(address: str) -> None:
    async with LimiterClient(address) as client, LimiterAdminClient(address) as admin:
        for _ in range(5):
            decision = await client.consume("api", PAST, 40)
            assert (decision.allowed, decision.permits, decision.governing) == (True, 40, None)
        batch = await client.consume_batch([PermitRequest("api", PAST, 40)] * 3)
        assert all(not isinstance(each, ServiceError) and each.allowed for each in batch)
        assert (await client.check("api", PAST)).allowed
        wrong = {**PAST, "break-glass": TOKEN[:-1], "endpoint": "GET /"}
        assert (await client.consume("api", wrong, 50)).allowed
        assert not (await client.consume("api", wrong)).allowed
        status = (await admin.inspect("api", {"user": "ann"})).rules[0].status
        assert status is not None
        assert status.remaining == 0


async def test_it_is_counted_and_told_and_the_secret_is_nowhere(redis: Redis, valkey_url: str) -> None:
    monitor = f"127.0.0.1:{free_port()}"
    with capture_logs() as lines:
        async with running(valkey_url, RULES, metrics_address=monitor) as limiter:
            for token in (TOKEN, f"not-{TOKEN}"):
                for _ in range(4):
                    await limiter.consume(request(**{"user": "ann", "break-glass": token}))
            await limiter.batch(*(request(**{"user": "ann", "break-glass": TOKEN}) for _ in range(3)))
            seen, (_, page) = await scrape(monitor), await get(monitor, "/metrics")
    keys = [text(key) for key in await redis.keys("*")]

    assert value(seen, "headworks_limiter_let_through_total", namespace="api", bypass="on-call") == 7
    assert value(seen, "headworks_limiter_decisions_total", outcome="allowed") == 4
    told = [line for line in lines if line["event"] == "limiter.let_through"]
    assert [(line["namespace"], line["bypass"], line["requests"]) for line in told] == [("api", "on-call", 1)]
    assert keys
    assert TOKEN not in f"{page}{keys}{lines}"


async def test_the_cap_on_new_buckets_is_told_and_counted(redis: Redis, valkey_url: str) -> None:
    monitor = f"127.0.0.1:{free_port()}"
    async with running(valkey_url, RULES, metrics_address=monitor, max_new_buckets_per_minute=1_000) as limiter:
        results = [
            result
            for part in range(30)
            for result in await limiter.batch(*(request(user=f"{part}-{number}") for number in range(100)))
        ]
        assert (await limiter.consume(request(user="0-0"))).allowed  # known
        assert (await limiter.of("other").consume(request(user="x"))).allowed
        seen = await scrape(monitor)
    refused = [result for result in results if result.HasField("error")]

    assert {result.error.reason for result in refused} == {Reason.TOO_MANY_BUCKETS}
    assert len(refused) >= 1_000  # 2,000, unless a minute began meanwhile
    assert value(seen, "headworks_limiter_buckets_refused_total") == len(refused)


async def test_a_call_beyond_the_cap_is_resource_exhausted_with_a_time(redis: Redis, valkey_url: str) -> None:
    chosen = f"127.0.0.1:{free_port()}"
    async with (
        running(valkey_url, RULES, address=chosen, max_new_buckets_per_minute=1),
        LimiterClient(chosen) as client,
    ):
        asked = [client.check("api", {"user": str(number)}) for number in range(4)]  # a minute may begin meanwhile
        with pytest.raises(ResourceExhausted) as caught:
            await asyncio.gather(*asked)
    assert caught.value.reason is Reason.TOO_MANY_BUCKETS
    assert caught.value.retry_after_us is not None
    assert 0 < caught.value.retry_after_us <= 60_000_001
