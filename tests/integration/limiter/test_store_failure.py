"""What the limiter answers while the store is away, and how it comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from headworks.limiter.v1.limiter_pb2 import REFUSAL_LIMITED, REFUSAL_STORE_FAILURE, PermitRequest
from headworks_core import errors, grpc_errors
from headworks_core.store import redis_client
from headworks_devkit.backends import RedisBackend
from headworks_devkit.backends.valkey import valkey
from redis.asyncio import Redis

from tests.integration.limiter.serving import Limiter, request, running
from tests.support.listening import deaf, listening
from tests.support.wait import wait_until

TIMEOUT_MS = 500
POLICIES = ("error", "deny", "local", "allow")
RULES = "namespaces:\n  api:\n    rules:\n" + "".join(
    f'      - {{name: {name}, match: {{{name}: "*"}}, limit: 4, per: 2000d, on_store_failure: {name}}}\n'
    for name in POLICIES
)


@pytest.fixture
async def server() -> AsyncIterator[RedisBackend]:
    async with valkey() as backend:
        yield backend


@pytest.fixture
async def limiter(server: RedisBackend) -> AsyncIterator[Limiter]:
    async with running(server.url, RULES, redis_timeout_ms=TIMEOUT_MS, replicas=2) as client:
        yield client


@contextmanager
def stopped(server: RedisBackend) -> Iterator[None]:
    """The server does not answer while the block runs; its sockets stay open."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def answers(limiter: Limiter, **descriptors: str) -> bool:
    """Whether a decision comes from the store again."""
    try:
        return not (await limiter.consume(request(**descriptors))).degraded
    except grpc.aio.AioRpcError:
        return False


async def failed(limiter: Limiter, asked: PermitRequest) -> errors.ServiceError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await limiter.consume(asked)
    return grpc_errors.from_call(caught.value)


async def test_error_says_that_the_store_is_away_and_when_to_come_back(limiter: Limiter, server: RedisBackend) -> None:
    with stopped(server):
        error = await failed(limiter, request(error="x"))
    assert isinstance(error, errors.Unavailable)
    assert error.reason is errors.Reason.STORE_UNAVAILABLE
    assert error.retry_after_us is not None


async def test_deny_refuses_and_says_why(limiter: Limiter, server: RedisBackend) -> None:
    with stopped(server):
        decision = await limiter.consume(request(deny="x"))
    assert (decision.allowed, decision.refusal, decision.degraded) == (False, REFUSAL_STORE_FAILURE, True)
    assert not decision.HasField("retry_after")


async def test_allow_grants_and_says_that_it_could_not_know(limiter: Limiter, server: RedisBackend) -> None:
    with stopped(server):
        decision = await limiter.consume(request(allow="x", _permits=4))
        looked = await limiter.check(request(allow="x", _permits=4))
    assert (decision.allowed, decision.permits, decision.degraded) == (True, 4, True)
    assert (looked.allowed, looked.permits, looked.degraded) == (True, 0, True)


async def test_local_grants_a_replicas_share(limiter: Limiter, server: RedisBackend) -> None:
    with stopped(server):
        decisions = [await limiter.consume(request(local="x")) for _ in range(3)]
    assert [decision.allowed for decision in decisions] == [True, True, False]
    assert all(decision.degraded for decision in decisions)
    assert decisions[2].refusal == REFUSAL_LIMITED
    assert decisions[2].governing.limit == 2


async def test_of_several_rules_the_strictest_wins(limiter: Limiter, server: RedisBackend) -> None:
    strictness = {name: place for place, name in enumerate(POLICIES)}
    seen = {}
    with stopped(server):
        for one, other in product(POLICIES, POLICIES):
            try:
                decision = await limiter.consume(request(**{one: f"{one}-{other}", other: f"{one}-{other}"}))
            except grpc.aio.AioRpcError:
                seen[one, other] = "error"
            else:
                told = "local" if decision.HasField("governing") else "allow"
                seen[one, other] = told if decision.allowed else "deny"
    assert seen == {pair: min(pair, key=strictness.__getitem__) for pair in product(POLICIES, POLICIES)}


async def test_items_of_a_batch_are_answered_by_their_own_rules(limiter: Limiter, server: RedisBackend) -> None:
    with stopped(server):
        results = await limiter.batch(*(request(**{name: "x"}) for name in POLICIES), request(none="x"))
    assert results[0].error.reason == "STORE_UNAVAILABLE"
    assert [result.decision.allowed for result in results[1:]] == [False, True, True, True]
    assert [result.decision.degraded for result in results[1:]] == [True, True, True, False]


async def test_what_no_store_is_needed_for_is_answered_as_ever(limiter: Limiter, server: RedisBackend) -> None:
    with stopped(server):
        assert not (await limiter.consume(request(none="x"))).degraded
        for asked in (
            request(allow="x", _permits=5),
            request(allow="x", _permits=5, _request_id="6f2c1e1e-0d6a-4c7b-9a51-0b6c8f3f2a10"),
        ):
            assert (await failed(limiter, asked)).reason is errors.Reason.PERMITS_EXCEED_LIMIT


async def test_a_stopped_store_costs_its_timeout_and_then_nothing(limiter: Limiter, server: RedisBackend) -> None:
    with stopped(server):
        for _ in range(4):
            await limiter.consume(request(allow="x"))
        started = time.monotonic()
        await asyncio.gather(*(limiter.consume(request(allow=f"{number}")) for number in range(100)))
        assert time.monotonic() - started < 2


async def test_it_works_again_by_itself_when_the_store_goes_on(limiter: Limiter, server: RedisBackend) -> None:
    assert await answers(limiter, error="x")
    with stopped(server):
        assert not await answers(limiter, error="x")
        await asyncio.gather(*(answers(limiter, error=f"{number}") for number in range(50)))
    await wait_until(lambda: answers(limiter, error="y"), 10, what="an answer from the store")


async def test_a_restarted_store_is_found_again_with_scripts_and_all(tmp_path: Path) -> None:
    async with valkey(directory=tmp_path) as first:
        port = int(first.url.split(":")[2].split("/")[0])
        async with running(first.url, RULES, redis_timeout_ms=TIMEOUT_MS) as limiter:
            assert await answers(limiter, error="x")
            assert first.pid is not None
            os.kill(first.pid, signal.SIGKILL)
            await wait_until(lambda: _fails(limiter), 10, what="a failure")
            async with valkey(port=port, directory=tmp_path):
                await wait_until(lambda: answers(limiter, error="x"), 10, what="an answer from the store")


async def _fails(limiter: Limiter) -> bool:
    return not await answers(limiter, error="x")


async def test_a_store_that_is_away_is_not_stormed(tmp_path: Path) -> None:
    connections = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await deaf(reader, writer)

    async with valkey(directory=tmp_path) as first:
        port = int(first.url.split(":")[2].split("/")[0])
        async with running(first.url, RULES, redis_timeout_ms=20) as limiter:
            assert first.pid is not None
            os.kill(first.pid, signal.SIGKILL)
            await wait_until(lambda: _fails(limiter), 10, what="a failure")
            async with listening(accept, port=port):
                started = time.monotonic()
                while time.monotonic() - started < 2:
                    await asyncio.gather(*(limiter.consume(request(allow=f"{number}")) for number in range(50)))
                seen = connections
    assert 1 <= seen <= 25


async def test_a_store_that_takes_no_writes_still_refuses_for_certain(limiter: Limiter, server: RedisBackend) -> None:
    async with redis_client(server.url, timeout_s=10) as redis:
        for name in POLICIES:
            await limiter.consume(request(**{name: "spent"}, _permits=4))
        before = await contents(redis)
        await redis.config_set("maxmemory", "1")
        asked = [request(**{name: value}) for name in POLICIES for value in ("fresh", "spent", "fresh")]
        results = await limiter.batch(*asked)
        await redis.config_set("maxmemory", "0")
        assert await contents(redis) == before
    spent = [result.decision for result in results[1::3]]
    assert [(decision.allowed, decision.degraded) for decision in spent] == [(False, False)] * 4
    fresh = results[0::3] + results[2::3]
    told = ["error" if each.HasField("error") else each.decision.allowed for each in fresh]
    assert told == ["error", False, True, True] * 2
    assert all(each.decision.degraded for each in fresh if each.HasField("decision"))
    assert await answers(limiter, error="fresh")


async def contents(redis: Redis) -> dict[object, object]:
    return {key: await redis.get(key) for key in await redis.keys("*:lim:*")}


ONLY_ERRORS = 'namespaces: {api: {rules: [{name: error, match: {error: "*"}, limit: 4, per: 2000d}]}}'


async def test_readiness_follows_the_store_and_liveness_does_not(server: RedisBackend) -> None:
    async with running(server.url, ONLY_ERRORS, redis_timeout_ms=TIMEOUT_MS) as limiter:
        await _readiness_follows(limiter, server)


async def test_a_limiter_whose_rules_have_an_answer_without_the_store_stays_ready(
    limiter: Limiter, server: RedisBackend
) -> None:
    stub: Any = health_pb2_grpc.HealthStub(limiter.channel)
    with stopped(server):
        began = time.monotonic()
        while time.monotonic() - began < 4 * TIMEOUT_MS / 1000:  # more probes than a verdict takes
            assert (await limiter.consume(request(allow="x"))).degraded
        reply = await stub.Check(health_pb2.HealthCheckRequest(service="readiness"))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def _readiness_follows(limiter: Limiter, server: RedisBackend) -> None:
    stub: Any = health_pb2_grpc.HealthStub(limiter.channel)

    async def status(service: str) -> int:
        reply: health_pb2.HealthCheckResponse = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        return reply.status

    serving = health_pb2.HealthCheckResponse.SERVING
    names = ("readiness", "headworks.limiter.v1.LimiterService")

    async def all_ready(wanted: bool) -> bool:
        return all([(await status(name) == serving) is wanted for name in names])

    assert await all_ready(True)
    with stopped(server):
        await wait_until(lambda: all_ready(False), 20, what="not ready")
        assert [await status(name) for name in ("", "liveness")] == [serving, serving]
    await wait_until(lambda: all_ready(True), 20, what="ready")
