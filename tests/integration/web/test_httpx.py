"""The httpx transports: a real upstream, real HTTP, a real limiter before it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from headworks_client import LimitExceeded
from headworks_client.httpx import AsyncLimitTransport, LimiterAway, LimitTransport, RequestRefused, host, path
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.integration.limiter.serving import running
from tests.integration.web.serving import serving
from tests.support.ports import free_port

RULES = """
namespaces:
  out:
    rules:
      - {name: provider, match: {host: "*"}, limit: 5/day}
      - {name: artists, match: {path: "/artists/*"}, limit: 2/day}
      - {name: paced, match: {pace: "*"}, limit: 5/second, burst: 1}
      - {name: slow, match: {slow: "*"}, limit: 1/hour}
"""
Get = Callable[..., Awaitable[httpx.Response]]


class Upstream:
    """Says hello, and remembers to whom."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.app = Starlette(routes=[Route("/{rest:path}", self.hello, methods=["GET"])])

    async def hello(self, request: Request) -> PlainTextResponse:
        self.paths.append(request.url.path)
        return PlainTextResponse("hello")


@asynccontextmanager
async def calling(kind: str, limiter: str, upstream: str, **options: Any) -> AsyncIterator[Get]:
    """GETs through a transport of this kind."""
    base = f"http://{upstream}"
    if kind == "async":
        transport = AsyncLimitTransport(limiter, namespace="out", **options)
        async with httpx.AsyncClient(transport=transport, base_url=base, timeout=30) as client:
            yield client.get
        return
    blocking = httpx.Client(transport=LimitTransport(limiter, namespace="out", **options), base_url=base, timeout=30)

    async def get(*args: Any, **kwargs: Any) -> httpx.Response:
        return await asyncio.to_thread(blocking.get, *args, **kwargs)

    try:
        yield get
    finally:
        await asyncio.to_thread(blocking.close)


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which of the two transports."""
    return str(request.param)


@pytest.fixture
async def limiter() -> AsyncIterator[str]:
    """The address of a limiter."""
    async with running("memory:", RULES) as limiter:
        yield limiter.address


@pytest.fixture
def upstream() -> Upstream:
    """What is called."""
    return Upstream()


async def test_what_is_refused_is_not_sent_and_says_when_it_may(kind: str, limiter: str, upstream: Upstream) -> None:
    async with serving(upstream.app) as address, calling(kind, limiter, address) as get:
        answers = [await get("/x") for _ in range(5)]
        with pytest.raises(RequestRefused, match="the limit of rule provider is used up; try again in") as refused:
            await get("/x")

    assert [answer.text for answer in answers] == ["hello"] * 5
    assert upstream.paths == ["/x"] * 5
    assert 86_400 / 5 - 30 < refused.value.retry_after_s <= 86_400 / 5
    assert refused.value.decision is not None
    assert refused.value.decision.governing is not None
    assert refused.value.decision.governing.rule == "provider"
    assert refused.value.request.url.path == "/x"
    assert isinstance(refused.value, LimitExceeded)
    assert isinstance(refused.value, httpx.TransportError)


async def test_a_refusal_can_be_an_answer_too(kind: str, limiter: str, upstream: Upstream) -> None:
    async with serving(upstream.app) as address, calling(kind, limiter, address, on_refused="respond", cost=4) as get:
        answer = await get("/x")
        refused = await get("/x")

    assert (answer.status_code, "headworks" in answer.extensions) == (200, False)
    assert (refused.status_code, refused.extensions["headworks"]) == (429, True)
    assert 0 < int(refused.headers["retry-after"]) <= 3 * 86_400 / 5
    assert refused.headers["ratelimit"].startswith('"provider";r=1;t=')
    assert refused.json()["violated-policies"] == ["provider"]
    assert upstream.paths == ["/x"]


async def test_what_comes_soon_is_waited_for(kind: str, limiter: str, upstream: Upstream) -> None:
    describe = {"pace": lambda request: "p"}
    async with (
        serving(upstream.app) as address,
        calling(kind, limiter, address, describe=describe, max_wait_s=60) as get,
    ):
        began = time.monotonic()
        answers = await asyncio.gather(*(get("/x") for _ in range(4)))
        took_s = time.monotonic() - began

    assert [answer.status_code for answer in answers] == [200] * 4
    assert took_s >= 0.6


async def test_what_comes_too_late_is_not_waited_for(kind: str, limiter: str, upstream: Upstream) -> None:
    describe = {"slow": lambda request: "s"}
    async with (
        serving(upstream.app) as address,
        calling(kind, limiter, address, describe=describe, max_wait_s=60) as get,
    ):
        await get("/x")
        began = time.monotonic()
        with pytest.raises(RequestRefused):
            await get("/x")
        assert time.monotonic() - began < 50


async def test_descriptors_say_which_requests_count_together(kind: str, limiter: str, upstream: Upstream) -> None:
    describe = {"host": host, "path": path("/artists/*", "/albums/**")}
    async with serving(upstream.app) as address, calling(kind, limiter, address, describe=describe) as get:
        for name in ("1", "2"):
            await get(f"/artists/{name}")
        with pytest.raises(RequestRefused, match="rule artists"):
            await get("/artists/3")
        assert (await get("/albums/1/tracks")).status_code == 200
    async with serving(upstream.app) as address, calling(kind, limiter, address, describe={"path": path("/y")}) as get:
        assert {(await get("/x")).status_code for _ in range(6)} == {200}


async def test_more_than_a_rule_can_hold_is_refused_for_good(kind: str, limiter: str, upstream: Upstream) -> None:
    cost: Callable[[httpx.Request], int] = lambda request: 6 if request.url.path == "/big" else 1  # noqa: E731
    async with serving(upstream.app) as address, calling(kind, limiter, address, cost=cost, max_wait_s=60) as get:
        with pytest.raises(RequestRefused, match="can ever hold") as refused:
            await get("/big")
        assert (await get("/small")).status_code == 200
    assert (refused.value.decision, refused.value.retry_after_s) == (None, 0)
    async with (
        serving(upstream.app) as address,
        calling(kind, limiter, address, cost=6, on_refused="respond") as get,
    ):
        answer = await get("/x")
    assert (answer.status_code, "retry-after" in answer.headers) == (429, False)


async def test_a_limiter_that_is_away_is_what_the_setting_says(kind: str, upstream: Upstream) -> None:
    away = f"127.0.0.1:{free_port()}"
    async with serving(upstream.app) as address:
        async with calling(kind, away, address) as get:
            assert (await get("/x")).text == "hello"
        async with calling(kind, away, address, on_unavailable="deny") as get:
            with pytest.raises(LimiterAway, match="the limiter cannot be asked"):
                await get("/x")
        async with calling(kind, away, address, on_unavailable="deny", on_refused="respond") as get:
            assert (await get("/x")).status_code == 503
    assert upstream.paths == ["/x"]


async def test_many_at_once_get_exactly_what_there_is(kind: str, limiter: str, upstream: Upstream) -> None:
    async with serving(upstream.app) as address, calling(kind, limiter, address, on_refused="respond") as get:
        answers = await asyncio.gather(*(get("/x") for _ in range(40)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 35
    assert len(upstream.paths) == 5


def test_settings_that_make_no_sense_are_told() -> None:
    with pytest.raises(ValueError, match="max_wait_s: 0 or more, not -1"):
        AsyncLimitTransport("127.0.0.1:1", namespace="out", max_wait_s=-1)
    with pytest.raises(ValueError, match="sample: 0 to 1, not 2"):
        AsyncLimitTransport("127.0.0.1:1", namespace="out", sample=2)
    with pytest.raises(ValueError, match="on_refused: raise or respond, not wait"):
        LimitTransport("127.0.0.1:1", namespace="out", on_refused="wait")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="on_unavailable: allow or deny, not wait"):
        LimitTransport("127.0.0.1:1", namespace="out", on_unavailable="wait")  # type: ignore[arg-type]
