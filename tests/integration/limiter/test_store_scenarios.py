"""Scenarios of the limiter's store: slow, its replies lost, its clock stepping back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from headworks_core import errors, grpc_errors
from headworks_devkit.backends import RedisBackend
from headworks_devkit.backends.valkey import valkey
from headworks_limiter import rules
from headworks_limiter.domain.ask import Ask
from headworks_limiter.domain.decision import Answer, Mode
from headworks_limiter.domain.rule import Bucket, bucket_key
from headworks_limiter.store.redis import RedisBuckets
from redis.asyncio import Redis

from tests.integration.limiter.serving import Limiter, request, running, seconds
from tests.support.proxy import Proxy, proxy
from tests.support.wait import wait_until

TIMEOUT_MS = 500
PERIOD_S = 3_600
STEP_S = 30
ALGORITHMS = ("gcra", "fixed_window", "sliding_window_log")
RULES = "namespaces:\n  api:\n    rules:\n" + "".join(
    f'      - {{name: {name}, match: {{{name}: "*"}}, limit: 4, per: 1h, algorithm: {name}'
    f"{', align: first_hit' if name == 'fixed_window' else ''}}}\n"
    for name in ALGORITHMS
)
REQUEST_ID = "6f2c1e1e-0d6a-4c7b-9a51-0b6c8f3f2a10"


@pytest.fixture
async def server() -> AsyncIterator[RedisBackend]:
    async with valkey() as backend:
        yield backend


@pytest.fixture
async def wire(server: RedisBackend) -> AsyncIterator[Proxy]:
    """What lies between the limiter and its store."""
    async with proxy(urlsplit(server.url).netloc) as between:
        yield between


@pytest.fixture
async def limiter(wire: Proxy) -> AsyncIterator[Limiter]:
    async with running(f"redis://{wire.address}", RULES, redis_timeout_ms=TIMEOUT_MS) as client:
        yield client


async def failed(limiter: Limiter, **fields: Any) -> errors.ServiceError:
    """What a request for a permit fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await limiter.consume(request(gcra="x", **fields))
    return grpc_errors.from_call(caught.value)


async def works(limiter: Limiter) -> bool:
    """Whether the store decides again."""
    try:
        await limiter.check(request(gcra="other"))
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_a_slow_store_is_waited_for_and_one_that_is_too_slow_is_not(limiter: Limiter, wire: Proxy) -> None:
    wire.delay(TIMEOUT_MS / 1000 / 5, "down")
    begun = time.monotonic()
    decision = await limiter.consume(request(gcra="x"))
    assert (decision.allowed, decision.governing.remaining, decision.degraded) == (True, 3, False)
    assert time.monotonic() - begun >= TIMEOUT_MS / 1000 / 5
    wire.delay(TIMEOUT_MS / 1000 * 20, "down")
    begun = time.monotonic()
    error = await failed(limiter)
    assert (type(error), error.reason) == (errors.Unavailable, errors.Reason.STORE_UNAVAILABLE)
    assert time.monotonic() - begun < TIMEOUT_MS / 1000 * 10
    await wire.clear()
    await wait_until(lambda: works(limiter), what="the store to be asked again")
    left = (await limiter.check(request(gcra="x"))).governing.remaining
    assert left in (1, 2)  # the late one may count


async def test_a_grant_whose_reply_was_lost_is_answered_again_and_counts_once(
    limiter: Limiter, wire: Proxy, server: RedisBackend
) -> None:
    wire.stall("down", drop=True)
    assert isinstance(await failed(limiter, _request_id=REQUEST_ID), errors.Unavailable)
    await wire.clear()
    await wait_until(lambda: works(limiter), what="the store to be asked again")
    again = await limiter.consume(request(gcra="x", _request_id=REQUEST_ID))
    assert (again.allowed, again.permits, again.replayed) == (True, 1, True)
    assert (await limiter.check(request(gcra="x"))).governing.remaining == 3


async def test_without_an_id_a_lost_reply_may_cost_a_permit_and_never_grants_one(limiter: Limiter, wire: Proxy) -> None:
    wire.stall("down", drop=True)
    await failed(limiter)
    await wire.clear()
    await wait_until(lambda: works(limiter), what="the store to be asked again")
    granted = sum([(await limiter.consume(request(gcra="x"))).allowed for _ in range(6)])
    assert granted == 3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_clock_that_steps_back_grants_nothing_twice_and_locks_nobody_out(
    redis: Redis, valkey_url: str, tmp_path: Path, algorithm: str
) -> None:
    """Permits are taken by a store whose clock is ahead; then it goes back by the step, and callers go on asking."""
    async with running(valkey_url, RULES) as limiter:
        (tmp_path / "rules.yaml").write_text(RULES)
        descriptors = {algorithm: "x"}
        (rule,) = rules.load(tmp_path / "rules.yaml").meeting("api", "default", descriptors) or []
        bucket = Bucket(bucket_key("{hw:0}", "default", rule, descriptors), rule)
        ahead = RedisBuckets(redis, timeout_s=10, now_us=lambda: time.time_ns() // 1000 + STEP_S * 1_000_000)
        (taken,) = await ahead.decide([Ask(0, Mode.TAKE, 3, [bucket])])
        assert taken.answer is Answer.ALLOWED

        last = await limiter.consume(request(**descriptors))
        refused = await limiter.consume(request(**descriptors))

    assert (last.allowed, last.governing.remaining) == (True, 0)
    assert not refused.allowed
    assert 0 < seconds(refused.retry_after) <= PERIOD_S + STEP_S
    assert seconds(refused.governing.reset_after) <= PERIOD_S + STEP_S
