"""The Python of docs/limiter.md does what the page says, against a real limiter."""

from __future__ import annotations

import ast
import asyncio
import inspect
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import pytest
from fastapi import FastAPI
from headworks_client import Decision, LimiterClient, PermitRequest, limited
from headworks_client.web import LimitMiddleware
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from tests.integration.limiter.serving import running
from tests.support.limiter_page import blocks
from tests.support.wait import wait_until

RULES = """
namespaces:
  api:
    rules:
      - {name: per-user, match: {user: "*"}, limit: 100/hour}
      - {name: per-ip, match: {ip: "*"}, limit: 100/hour}
  chat:
    rules:
      - {name: per-chat, match: {chat: "*"}, limit: 60/minute, burst: 1}
  jobs:
    rules:
      - {name: slots, match: {user: "*"}, algorithm: concurrency, limit: 1}
  providers:
    rules:
      - {name: calls, match: {}, limit: 1_000/hour}
"""
ADDRESS = "127.0.0.1:50051"


@pytest.fixture
async def address(redis: Redis, valkey_url: str) -> AsyncIterator[str]:
    async with running(valkey_url, RULES) as limiter:
        yield limiter.address


@pytest.fixture
async def limiter(address: str) -> AsyncIterator[LimiterClient]:
    async with LimiterClient(address, timeout_s=20) as client:
        yield client


def with_word(word: str) -> str:
    """The one block that has it."""
    (text,) = [block for block in blocks("python") if word in block]
    return text


async def ran(text: str, address: str, **names: Any) -> dict[str, Any]:
    """The names of a block after it ran, at this limiter instead of the one that it names."""
    code = compile(text.replace(ADDRESS, address), "limiter.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    outcome = eval(code, names)
    if inspect.isawaitable(outcome):
        await outcome
    return names


async def left(limiter: LimiterClient, namespace: str = "api", **descriptors: str) -> int:
    governing = (await limiter.check(namespace, descriptors)).governing
    assert governing is not None
    return governing.remaining


async def test_a_client_asks(address: str) -> None:
    names = await ran(with_word('tenant="acme"'), address)
    assert names["decision"].governing.remaining == 99


async def test_a_caller_waits_for_its_turn(address: str, limiter: LimiterClient) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    for _ in range(2):
        await ran(with_word("max_wait_s=30)"), address, limiter=limiter, asyncio=SimpleNamespace(sleep=sleep))
    assert slept[0] == 0
    assert 0 < slept[1] <= 1


async def test_a_cost_is_told_later(address: str, limiter: LimiterClient) -> None:
    await ran(with_word("hold_s=120"), address, limiter=limiter)
    assert 93 <= await left(limiter, user="ann") <= 94  # 20 were held, 7 were used; one comes back in 36 s


async def test_a_slot_is_renewed_and_released(address: str, limiter: LimiterClient) -> None:
    names = await ran(with_word("limiter.renew"), address, limiter=limiter)
    assert names["decision"].allowed
    assert await left(limiter, "jobs", user="ann") == 1


async def test_a_slot_is_held_while_a_block_runs(address: str, limiter: LimiterClient) -> None:
    await ran(with_word("limiter.holding"), address, limiter=limiter)

    async def given_back() -> bool:
        return await left(limiter, "jobs", user="ann") == 1

    await wait_until(given_back, 10, what="the slot")


async def test_a_lease_is_taken_and_what_is_left_returned(address: str, limiter: LimiterClient) -> None:
    names = await ran(with_word("lease_quota"), address, limiter=limiter)
    assert (names["lease"].permits, names["spent"]) == (50, 3)
    assert 97 <= await left(limiter, user="ann") <= 98


async def test_batches_are_planned(address: str, limiter: LimiterClient, capsys: pytest.CaptureFixture[str]) -> None:
    await ran(with_word("plan_batches"), address, limiter=limiter)
    lines = capsys.readouterr().out.splitlines()
    assert sum(int(line.split()[0]) for line in lines) == 2_500
    assert lines[0] == "100 items in 0.0 s"


async def test_an_api_is_limited(address: str, limiter: LimiterClient) -> None:
    app = FastAPI()
    await ran(with_word("LimitMiddleware,"), address, app=app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/export")).headers["x-ratelimit-remaining"] == "95"  # it costs 5
        assert "x-ratelimit-remaining" not in (await client.get("/health")).headers


async def test_a_function_and_an_endpoint_are_limited(address: str) -> None:
    app = FastAPI()
    text = with_word("async def analyse").replace("User", "SimpleNamespace").replace("Report", "Any")
    names = await ran(text, address, app=app, SimpleNamespace=SimpleNamespace, Any=Any, Request=Request)
    async with names["limiter"] as limiter:
        await names["analyse"](SimpleNamespace(id="ann"), "seven..")
        assert await left(limiter, user="ann") == 93
        with pytest.raises(names["LimitExceeded"]):
            await names["analyse"](SimpleNamespace(id="bob"), "x" * 101)


async def test_calls_of_an_api_are_asked_for(address: str, limiter: LimiterClient) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        here = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await ran(with_word("AsyncLimitTransport").replace("https://api.example.org", here), address)
    assert await left(limiter, "providers", host="h") == 999


async def test_a_server_is_limited(address: str, limiter: LimiterClient) -> None:
    names = await ran(with_word("grpc.aio.server"), address, limiter=limiter, grpc=grpc)
    await names["server"].stop(None)


async def test_a_wait_is_refused_where_a_rule_cannot_promise(redis: Redis, valkey_url: str) -> None:
    rules = """
namespaces:
  api:
    rules:
      - {name: rate, match: {user: "*"}, limit: 60/minute, burst: 1}
      - {name: year, match: {user: "*", all: "yes"}, limit: 100/year, algorithm: fixed_window}
"""
    async with running(valkey_url, rules) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        await client.consume("api", {"user": "ann"})
        assert (await client.consume("api", {"user": "ann"}, max_wait_s=60)).allowed
        assert not (await client.consume("api", {"user": "ann", "all": "yes"}, max_wait_s=60)).allowed


async def test_what_was_learnt_outlives_a_minute_without_use(redis: Redis, valkey_url: str) -> None:
    rules = """
namespaces:
  api:
    rules:
      - {name: health, match: {up: "*"}, algorithm: circuit_breaker, failures: 50%, calls: 2, window: 2h}
      - {name: flow, match: {up: "*"}, algorithm: adaptive, limit: 10}
"""

    async def lives_s() -> dict[str, int]:
        keys = [key async for key in redis.scan_iter("*lim:*/*")]
        return {str(key).split("/")[1]: await redis.pttl(key) // 1_000 for key in keys}

    async with running(valkey_url, rules) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        await client.report_outcome("api", {"up": "a"}, 500)
        lives = await lives_s()
        assert 7_000 < lives["health"] <= 7_260  # as long as it counts, and a minute
        assert lives["flow"] > 86_000
        await client.report_outcome("api", {"up": "a"}, 500)
        assert (await lives_s())["health"] > 86_000  # open
        await client.reset("api", {"up": "a"})
        grant = await client.consume("api", {"up": "a"})
        assert (await lives_s())["flow"] <= 120  # nothing was learnt: a ttl, and a minute
        await client.release(grant.grant_id)


async def test_the_decorator_and_the_middleware_wait_for_the_turn_that_a_queue_gives(
    redis: Redis, valkey_url: str
) -> None:
    rules = """
namespaces:
  api:
    rules:
      - {name: line, match: {route: "*"}, limit: 5/second, algorithm: leaky_bucket}
"""
    begun: list[float] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        begun.append(time.monotonic())
        await PlainTextResponse("hello")(scope, receive, send)

    async with running(valkey_url, rules) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        called = limited(client, "api", describe={"route": "f"})(asyncio.sleep)
        start = time.monotonic()
        await asyncio.gather(*(called(0) for _ in range(3)))
        assert time.monotonic() - start >= 0.39  # at once, after 0.2 s and after 0.4 s
        app = LimitMiddleware(application, client, namespace="api", describe={"route": lambda scope: "g"})
        start = time.monotonic()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as browser:
            replies = await asyncio.gather(*(browser.get("/") for _ in range(3)))
        assert [reply.status_code for reply in replies] == [200] * 3
        assert max(begun) - start >= 0.39


@pytest.mark.parametrize("store", ["redis", "memory"])
async def test_what_the_runbook_says_of_blocks_breakers_and_trials(redis: Redis, valkey_url: str, store: str) -> None:
    rules = """
namespaces:
  api:
    rules:
      - {name: rate, match: {up: "*"}, limit: 100/hour}
      - {name: trial, match: {up: "*"}, limit: 100/hour, shadow: true}
      - {name: health, match: {up: "*"}, algorithm: circuit_breaker, failures: 50%, calls: 1}
"""
    url = valkey_url if store == "redis" else "memory:"
    async with running(url, rules) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        told = await client.report_outcome("api", {"up": "a"}, 429, {"Retry-After": "3600"})
        assert told.rules == ("rate",)  # not the one on trial, and an overload is no failure
        await client.report_outcome("api", {"up": "a"}, 500)
        refused = await client.consume("api", {"up": "a"}, detail_all=True)
        assert [rule.rule for rule in refused.rules if not rule.allowed] == ["rate", "health"]
        await client.reset("api", {"up": "a"})
        assert (await client.consume("api", {"up": "a"})).allowed


@pytest.mark.parametrize("store", ["redis", "memory"])
async def test_a_bucket_has_at_most_two_hundred_promises_and_any_can_be_given_back(
    redis: Redis, valkey_url: str, store: str
) -> None:
    rules = "namespaces: {api: {rules: [{name: rate, match: {user: '*'}, limit: 60/minute, burst: 1}]}}"
    url = valkey_url if store == "redis" else "memory:"
    async with running(url, rules) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        asked = [PermitRequest("api", {"user": "ann"}, max_wait_s=3_600, hold_s=600) for _ in range(202)]
        found = [each for each in await client.consume_batch(asked) if isinstance(each, Decision)]
        assert [each.allowed for each in found] == [True] * 201 + [False]
        await client.settle(found[150].grant_id, 0)
        (again,) = await client.consume_batch([asked[0]])
        assert isinstance(again, Decision)
        assert again.allowed
        assert 100 < again.wait_s <= 151  # the place of the one that was given back, and no other
