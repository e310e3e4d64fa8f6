"""A request that is sent twice under one id consumes once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from headworks_core import errors, grpc_errors
from headworks_limiter.domain.ask import Ask
from headworks_limiter.domain.decision import Answer, Mode
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.rule import Bucket, Rule
from headworks_limiter.store.redis import RedisBuckets
from redis.asyncio import Redis

from tests.integration.limiter.serving import Limiter, request, running

ID = "6f2c1e1e-0d6a-4c7b-9a51-0b6c8f3f2a10"
OTHER_ID = "6f2c1e1e-0d6a-4c7b-9a51-0b6c8f3f2a11"
NOW_US = 1_772_323_200_000_000
TEN_MINUTES_US = 600_000_000
RULES = """
namespaces:
  api:
    rules:
      - {name: rate, match: {user: "*"}, limit: 10, per: 2000d}
  web:
    rules:
      - {name: rate, match: {user: "*"}, limit: 10, per: 2000d}
"""


@pytest.fixture
async def limiter(redis: Redis, valkey_url: str) -> AsyncIterator[Limiter]:
    async with running(valkey_url, RULES) as client:
        yield client


async def left(limiter: Limiter) -> int:
    return (await limiter.check(request(user="ann"))).governing.remaining


async def test_a_retry_gets_the_recorded_grant_and_consumes_nothing(limiter: Limiter) -> None:
    first = await limiter.consume(request(user="ann", _permits=4, _request_id=ID))
    again = await limiter.consume(request(user="ann", _permits=4, _request_id=ID))
    assert (first.allowed, first.permits, first.replayed) == (True, 4, False)
    assert (again.allowed, again.permits, again.replayed) == (True, 4, True)
    assert again.governing.remaining == 6
    assert await left(limiter) == 6


async def test_a_grant_is_replayed_when_nothing_is_left(limiter: Limiter) -> None:
    await limiter.consume(request(user="ann", _permits=6, _request_id=ID))
    await limiter.consume(request(user="ann", _permits=4))
    again = await limiter.consume(request(user="ann", _permits=6, _request_id=ID))
    assert (again.allowed, again.replayed, again.HasField("retry_after")) == (True, True, False)


async def test_fifty_callers_with_one_id_consume_once(limiter: Limiter) -> None:
    decisions = await asyncio.gather(
        *(limiter.consume(request(user="ann", _permits=3, _request_id=ID)) for _ in range(50))
    )
    assert all(decision.allowed and decision.permits == 3 for decision in decisions)
    assert sum(not decision.replayed for decision in decisions) == 1
    assert await left(limiter) == 7


async def test_one_batch_may_hold_the_same_request_twice(limiter: Limiter) -> None:
    asked = request(user="ann", _permits=3, _request_id=ID)
    results = await limiter.batch(asked, asked, request(user="bob", _permits=3, _request_id=ID))
    assert [result.decision.replayed for result in results[:2]] == [False, True]
    assert results[2].error.reason == "REQUEST_ID_REUSED"
    assert await left(limiter) == 7


@pytest.mark.parametrize(
    "other",
    [
        request(user="ann", _permits=5, _request_id=ID),
        request(user="bob", _permits=4, _request_id=ID),
        request(user="ann", ip="::1", _permits=4, _request_id=ID),
        request("web", user="ann", _permits=4, _request_id=ID),
    ],
)
async def test_an_id_that_was_used_for_another_request_is_an_error(limiter: Limiter, other: object) -> None:
    await limiter.consume(request(user="ann", _permits=4, _request_id=ID))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await limiter.consume(other)  # type: ignore[arg-type]
    error = grpc_errors.from_call(caught.value)
    assert isinstance(error, errors.InvalidArgument)
    assert error.reason is errors.Reason.REQUEST_ID_REUSED
    assert await left(limiter) == 6


async def test_another_detail_is_no_other_request(limiter: Limiter) -> None:
    await limiter.consume(request(user="ann", _request_id=ID))
    assert (await limiter.consume(request(user="ann", _request_id=ID, _detail=1))).replayed


async def test_a_refusal_is_not_recorded(limiter: Limiter, redis: Redis) -> None:
    await limiter.consume(request(user="ann", _permits=8))
    refused = await limiter.consume(request(user="ann", _permits=5, _request_id=ID))
    assert not refused.allowed
    assert not await redis.keys("*:grant:*")
    later = await limiter.consume(request(user="ann", _permits=2, _request_id=ID))
    assert (later.allowed, later.replayed) == (True, False)


async def test_tenants_have_their_own_ids(limiter: Limiter) -> None:
    asked = request(user="ann", _permits=4, _request_id=ID)
    assert not (await limiter.of("one").consume(asked)).replayed
    assert not (await limiter.of("two").consume(asked)).replayed


async def test_a_grant_from_before_the_limit_was_lowered_is_still_replayed(limiter: Limiter, valkey_url: str) -> None:
    await limiter.consume(request(user="ann", _permits=9, _request_id=ID))
    async with running(valkey_url, RULES.replace("limit: 10", "limit: 5")) as lowered:
        again = await lowered.consume(request(user="ann", _permits=9, _request_id=ID))
        assert (again.allowed, again.permits, again.replayed) == (True, 9, True)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await lowered.consume(request(user="ann", _permits=9, _request_id=OTHER_ID))
    assert grpc_errors.from_call(caught.value).reason is errors.Reason.PERMITS_EXCEED_LIMIT


async def test_a_record_ends_after_ten_minutes_whatever_its_ttl_says(redis: Redis) -> None:
    now_us = NOW_US
    store = RedisBuckets(redis, timeout_s=10, now_us=lambda: now_us)
    bucket = Bucket("{hw:0}:lim:t:b", Rule("api", "rate", (), Gcra(10, 86_400_000_000, 10)))
    ask = Ask(0, Mode.TAKE, 1, [bucket], record="{hw:0}:lim:t:grant:x", fingerprint="00ff")
    assert (await store.decide([ask]))[0].answer is Answer.ALLOWED
    await redis.persist(ask.record)
    now_us += TEN_MINUTES_US - 1
    assert (await store.decide([ask]))[0].answer is Answer.REPLAYED
    now_us += 1
    verdict = (await store.decide([ask]))[0]
    assert verdict.answer is Answer.ALLOWED
    assert verdict.outcomes[0].remaining == 8


async def test_check_ignores_an_id(limiter: Limiter) -> None:
    await limiter.consume(request(user="ann", _permits=4, _request_id=ID))
    looked = await limiter.check(request(user="ann", _permits=6, _request_id=ID))
    assert (looked.allowed, looked.replayed, looked.permits) == (True, False, 0)
