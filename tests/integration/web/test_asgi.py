"""The ASGI middleware: a real server, real HTTP, a real limiter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from headworks_client.web import LimitMiddleware, client_ip, header, route
from headworks_client.web.asgi import TRY_AGAIN
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.limiter.serving import running
from tests.integration.web.serving import serving
from tests.support.ports import free_port

RULES = """
namespaces:
  api:
    rules:
      - {name: per-ip, match: {ip: "*"}, limit: 5/day}
      - {name: exports, match: {key: "*", route: POST /exports/**}, limit: 2/day, algorithm: fixed_window}
      - {name: trial, match: {ip: "*"}, limit: 1/day, shadow: true}
"""


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello", headers={"x-mine": "1"})


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def app(**options: Any) -> Starlette:
    routes = [
        Route("/{rest:path}", hello, methods=["GET", "POST"]),
        WebSocketRoute("/ws", talk),
    ]
    made = Starlette(routes=routes)
    made.add_middleware(LimitMiddleware, **{"namespace": "api", **options})
    return made


@asynccontextmanager
async def limited(**options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of an application behind a limiter."""
    async with (
        running("memory:", RULES) as limiter,
        serving(app(limiter=limiter.address, **options)) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        yield client


async def test_what_is_allowed_passes_with_headers_and_what_is_refused_is_a_problem() -> None:
    async with limited() as client:
        answers = [await client.get("/x") for _ in range(6)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    first, last = answers[0], answers[-1]
    assert (first.text, first.headers["x-mine"]) == ("hello", "1")
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["4", "3", "2", "1", "0", "0"]
    assert first.headers["x-ratelimit-limit"] == "5"
    assert int(first.headers["x-ratelimit-reset"]) == pytest.approx(time.time() + 86_400 / 5, abs=30)
    assert last.headers["content-type"] == "application/problem+json"
    wait_s = int(last.headers["retry-after"])
    assert 86_400 / 5 - 30 < wait_s <= 86_400 / 5
    assert last.json() == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Too Many Requests",
        "status": 429,
        "detail": f"a limit is used up; try again in {wait_s} s",
        "violated-policies": ["per-ip"],
    }


async def test_draft_11_names_every_rule_that_is_enforced() -> None:
    describe = {"ip": client_ip(), "key": header("x-api-key"), "route": route}
    async with limited(headers="ratelimit", describe=describe) as client:
        answers = [await client.post("/exports/a", headers={"x-api-key": "k"}) for _ in range(3)]
        other = await client.post("/exports/a", headers={"x-api-key": "another"})

    assert [answer.status_code for answer in (*answers, other)] == [200, 200, 429, 200]
    states = dict(part.split(";", 1) for part in answers[0].headers["ratelimit"].split(", "))
    assert states.keys() == {'"per-ip"', '"exports"'}
    assert states['"exports"'].startswith("r=1;t=")
    assert answers[0].headers["ratelimit-policy"] == '"per-ip";q=5, "exports";q=2'
    assert answers[2].json()["violated-policies"] == ["exports"]


async def test_draft_3_and_none() -> None:
    async with limited(headers="ratelimit-3") as client:
        found = (await client.get("/x")).headers
    assert (found["ratelimit-limit"], found["ratelimit-remaining"]) == ("5", "4")
    assert 86_400 / 5 - 30 < int(found["ratelimit-reset"]) <= 86_400 / 5
    async with limited(headers="none") as client:
        answers = [await client.get("/x") for _ in range(6)]
    assert not [name for name in answers[-1].headers if "ratelimit" in name]
    assert "retry-after" in answers[-1].headers
    with pytest.raises(ValueError, match="x-rate"):
        LimitMiddleware(hello, "127.0.0.1:1", namespace="api", headers="x-rate")  # type: ignore[arg-type]


async def test_costs_and_paths_that_are_left_out() -> None:
    async with limited(
        cost=lambda scope: 3 if scope["path"] == "/big" else 1, exclude=["/health", "/static/*"]
    ) as client:
        for path in ("/health", "/static/a/b.css"):
            assert "x-ratelimit-limit" not in (await client.get(path)).headers
        assert (await client.get("/big")).headers["x-ratelimit-remaining"] == "2"
        assert (await client.get("/big")).status_code == 429
        assert (await client.head("/big")).status_code == 429
        assert (await client.get("/small")).status_code == 200
    for cost in (6, 10**30):
        async with limited(cost=cost) as client:
            never = await client.get("/x")
        assert (never.status_code, "retry-after" in never.headers) == (429, False)
        assert "can ever hold" in never.json()["detail"]


async def test_only_proxies_that_are_trusted_say_who_calls() -> None:
    async with limited() as client:
        for number in range(5):
            await client.get("/x", headers={"x-forwarded-for": f"203.0.113.{number}"})
        assert (await client.get("/x", headers={"x-forwarded-for": "203.0.113.9"})).status_code == 429
    async with limited(describe={"ip": client_ip(trusted=["127.0.0.0/8"])}) as client:
        for number in range(6):
            answer = await client.get("/x", headers={"x-forwarded-for": f"1.1.1.1, 203.0.113.{number}, 127.0.0.9"})
            assert answer.status_code == 200
        answers = [await client.get("/x", headers={"x-forwarded-for": "1.1.1.1, 203.0.113.0"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]


async def test_values_that_are_too_long_for_the_limiter_get_nobody_past_it() -> None:
    describe = {"ip": client_ip(), "key": header("x-api-key"), "route": route}
    async with limited(describe=describe) as client:
        answers = [await client.get("/" + "x" * 400, headers={"x-api-key": f"{n}" * 300}) for n in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]


@pytest.mark.parametrize(("wish", "status"), [("allow", 200), ("deny", 503)])
async def test_a_limiter_that_is_away_is_what_the_setting_says(wish: str, status: int) -> None:
    made = app(limiter=f"127.0.0.1:{free_port()}", on_unavailable=wish)
    async with serving(made) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        answer = await client.get("/x")
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_a_websocket_is_opened_or_answered_with_a_429() -> None:
    async with limited() as client:
        url = f"ws://{client.base_url.host}:{client.base_url.port}/ws"
        for _ in range(5):
            async with connect(url) as websocket:
                assert await websocket.recv() == "hello"
        with pytest.raises((InvalidStatus, ConnectionClosed)) as refused:
            async with connect(url) as websocket:
                await websocket.recv()
    if isinstance(refused.value, InvalidStatus):
        assert refused.value.response.status_code == 429
    else:
        assert isinstance(refused.value, ConnectionClosed)
        assert refused.value.rcvd is not None
        assert refused.value.rcvd.code == TRY_AGAIN


async def test_a_hundred_requests_at_once_get_exactly_what_there_is() -> None:
    async with limited() as client:
        answers = await asyncio.gather(*(client.get("/x") for _ in range(100)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 95
