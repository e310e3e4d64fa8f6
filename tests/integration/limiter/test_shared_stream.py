"""LimiterClient: concurrent calls of `consume` share a stream, and nobody notices but by the speed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from headworks_client import Decision, LimiterClient, sharing
from headworks_core.errors import InvalidArgument, NotFound, Reason, Unavailable
from headworks_core.measures import PROCESS
from redis.asyncio import Redis

from tests.integration.limiter.serving import running
from tests.support.ports import free_port
from tests.support.proxy import Proxy, proxy

RULES = """
namespaces:
  api:
    rules:
      - {name: few, match: {few: "*"}, limit: 100, per: 2000d}
      - {name: many, match: {many: "*"}, limit: 1000000, per: 2000d}
"""
UNARY, STREAM = (f"headworks.limiter.v1.LimiterService/{method}" for method in ("Consume", "ConsumeStream"))


@pytest.fixture
async def port(redis: Redis, valkey_url: str) -> AsyncIterator[int]:
    """Of a running limiter."""
    chosen = free_port()
    async with running(valkey_url, RULES, address=f"127.0.0.1:{chosen}"):
        yield chosen


@pytest.fixture
async def between(port: int) -> AsyncIterator[Proxy]:
    """The network."""
    async with proxy(f"127.0.0.1:{port}") as running_proxy:
        yield running_proxy


def calls(method: str) -> int:
    """Calls that have ended in this process, however they did."""
    return sum(PROCESS.calls[method].by_status.values())


async def outcome(work: Any) -> Decision | Exception:
    """What comes of it."""
    try:
        decision: Decision = await work
        return decision
    except Exception as error:
        return error


async def test_a_lone_call_goes_alone_and_concurrent_ones_share_a_stream(port: int) -> None:
    alone, streams = calls(UNARY), calls(STREAM)
    async with LimiterClient(f"127.0.0.1:{port}") as client:
        for _ in range(3):
            await client.consume("api", {"many": "a"})
        assert (calls(UNARY), calls(STREAM)) == (alone + 3, streams)
        await asyncio.gather(*(client.consume("api", {"many": "a"}) for _ in range(1_000)))
        assert calls(UNARY) == alone + 4
        assert PROCESS.calls[STREAM].open == 1
    assert calls(STREAM) <= streams + 1


async def test_concurrent_calls_get_exactly_what_there_is(port: int) -> None:
    async with LimiterClient(f"127.0.0.1:{port}") as client:
        decisions = await asyncio.gather(*(client.consume("api", {"few": "a"}) for _ in range(300)))

    assert sum(decision.allowed for decision in decisions) == 100
    refused = next(decision for decision in decisions if not decision.allowed)
    assert refused.governing is not None
    assert (refused.governing.rule, refused.governing.remaining) == ("few", 0)
    assert refused.retry_after_s > 0


async def test_each_call_gets_its_own_answer_and_its_own_error(port: int) -> None:
    async with LimiterClient(f"127.0.0.1:{port}") as client:
        good = [client.consume("api", {"few": f"{n}"}, n) for n in range(1, 51)]
        bad = [client.consume("nowhere", {"few": "a"}), client.consume("api", {"few": "a"}, 101)]
        outcomes = await asyncio.gather(*map(outcome, [*good, *bad]))

    decided, (missing, too_many) = outcomes[:-2], outcomes[-2:]
    assert [each.permits for each in decided if isinstance(each, Decision)] == list(range(1, 51))
    assert isinstance(missing, NotFound)
    assert isinstance(too_many, InvalidArgument)
    assert too_many.reason is Reason.PERMITS_EXCEED_LIMIT


async def until_decided(client: LimiterClient) -> Decision:
    """Ask with one id until there is an answer."""
    request_id = str(uuid.uuid4())
    while isinstance(found := await outcome(client.consume("api", {"few": "a"}, request_id=request_id)), Unavailable):
        pass
    assert isinstance(found, Decision), found
    return found


async def test_a_connection_that_breaks_again_and_again_costs_nothing(between: Proxy) -> None:
    async with LimiterClient(between.address, timeout_s=10) as client, asyncio.timeout(60):
        allowed, rounds = 0, 0
        while allowed < 100:
            asked = [asyncio.ensure_future(until_decided(client)) for _ in range(5)]
            await asyncio.sleep(0)
            between.cut()
            allowed += sum(decision.allowed for decision in await asyncio.gather(*asked))
            rounds += 1
        last = await until_decided(client)

    assert (allowed, rounds, last.allowed) == (100, 20, False)  # no permit was taken twice


async def test_whoever_gives_up_takes_nothing_from_the_others(port: int) -> None:
    async with LimiterClient(f"127.0.0.1:{port}") as client:
        asked = [asyncio.ensure_future(client.consume("api", {"few": "a"})) for _ in range(50)]
        await asyncio.sleep(0)
        for task in asked[1::2]:
            task.cancel()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)

    assert [isinstance(each, Decision) and each.allowed for each in outcomes[0::2]] == [True] * 25
    assert {type(each) for each in outcomes[1::2]} == {asyncio.CancelledError}


async def test_a_limiter_that_is_not_there_is_unavailable_for_all() -> None:
    async with LimiterClient(f"127.0.0.1:{free_port()}") as client, asyncio.timeout(10):
        outcomes = await asyncio.gather(*(outcome(client.consume("api", {"few": "a"})) for _ in range(20)))

    assert {type(each) for each in outcomes} == {Unavailable}


async def test_a_limiter_that_says_nothing_is_given_up_in_time(between: Proxy) -> None:
    async with LimiterClient(between.address, timeout_s=0.5) as client, asyncio.timeout(10):
        await asyncio.gather(*(client.consume("api", {"many": "a"}) for _ in range(5)))
        between.stall("down")
        outcomes = await asyncio.gather(*(outcome(client.consume("api", {"many": "a"})) for _ in range(5)))
        assert {type(each) for each in outcomes} == {Unavailable}
        assert "no answer within 0.5 s" in str(outcomes[-1])
        await between.clear()
        decisions = await asyncio.gather(*(client.consume("api", {"many": "a"}) for _ in range(5)))

    assert all(decision.allowed for decision in decisions)


async def test_leaving_ends_the_calls_that_wait(between: Proxy) -> None:
    async with LimiterClient(between.address, timeout_s=60) as client:
        await asyncio.gather(*(client.consume("api", {"many": "a"}) for _ in range(2)))
        between.stall("down")
        asked = [asyncio.ensure_future(outcome(client.consume("api", {"many": "a"}))) for _ in range(3)]
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*asked[1:])

    assert [str(each) for each in outcomes] == ["the client was closed"] * 2
    asked[0].cancel()


async def test_an_old_stream_is_followed_by_a_new_one(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "STREAM_S", 0.0)
    streams = calls(STREAM)
    async with LimiterClient(f"127.0.0.1:{port}") as client:
        for _ in range(3):
            decisions = await asyncio.gather(*(client.consume("api", {"many": "a"}) for _ in range(1_200)))
            assert all(decision.allowed for decision in decisions)

    assert calls(STREAM) >= streams + 3
