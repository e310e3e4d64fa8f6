"""The middleware and the decorator where people have them: FastAPI, Starlette, Litestar, Django; real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import fastapi
import httpx
import litestar
import pytest
from headworks_client import LimiterClient, LimitExceeded, SyncLimiterClient, limited
from headworks_client.limited import of_request, too_many_requests
from headworks_client.web import LimitMiddleware, client_ip, first_of, header, route, user
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult, DefineMiddleware
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.integration.limiter.serving import running
from tests.integration.web import django_project
from tests.integration.web.serving import serving

RULES = """
namespaces:
  api:
    rules:
      - {name: per-caller, match: {caller: "*"}, limit: 2/day}
      - {name: per-ip, match: {ip: "*"}, limit: 3/day}
"""
DESCRIBE = {"caller": first_of(header("x-api-key"), client_ip())}
MIDDLEWARE: Any = LimitMiddleware
"""Litestar's types of messages are its own."""
Get = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
async def limiter() -> AsyncIterator[str]:
    """The address of a limiter."""
    async with running("memory:", RULES) as limiter:
        yield limiter.address


@asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncIterator[Get]:
    """GETs from an application."""
    async with serving(app, **options) as address, httpx.AsyncClient(base_url=f"http://{address}", timeout=30) as http:
        yield http.get


async def expect_two_then_a_429(get: Get) -> None:
    """Two requests pass with headers, the third is refused, another caller passes."""
    answers = [await get("/x", headers={"x-api-key": "k"}) for _ in range(3)]
    other = await get("/x", headers={"x-api-key": "another"})

    assert [answer.status_code for answer in (*answers, other)] == [200, 200, 429, 200]
    assert answers[0].headers["x-mine"] == "1"
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    refused = answers[2]
    assert refused.headers["content-type"] == "application/problem+json"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400 / 2
    assert refused.json()["violated-policies"] == ["per-caller"]


async def test_fastapi(limiter: str) -> None:
    app = fastapi.FastAPI()
    app.add_middleware(LimitMiddleware, limiter=limiter, namespace="api", describe=DESCRIBE)

    @app.get("/x")
    async def hello() -> fastapi.Response:
        return fastapi.Response("hello", headers={"x-mine": "1"})

    async with served(app) as get:
        await expect_two_then_a_429(get)


async def test_litestar(limiter: str) -> None:
    @litestar.get("/x")
    async def hello() -> litestar.Response[str]:
        return litestar.Response("hello", headers={"x-mine": "1"})

    async with LimiterClient(limiter) as client:
        limits = DefineMiddleware(MIDDLEWARE, limiter=client, namespace="api", describe=DESCRIBE)
        async with served(litestar.Litestar([hello], middleware=[limits])) as get:
            await expect_two_then_a_429(get)


async def test_django(limiter: str) -> None:
    async with LimiterClient(limiter) as client:
        app = LimitMiddleware(django_project.application(), client, namespace="api", describe=DESCRIBE)
        async with served(app, lifespan="off") as get:
            await expect_two_then_a_429(get)


class Names(AuthenticationBackend):
    """Believes a header."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        """See Starlette."""
        name = conn.headers.get("x-user")
        return (AuthCredentials(), SimpleUser(name)) if name else None


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def expect_a_count_for_each_user(get: Get) -> None:
    """Two for each user; who is not signed in counts by address."""
    for name in ("ann", "ben", ""):
        told = {"x-user": name} if name else {}
        answers = [(await get("/x", headers=told)).status_code for _ in range(3)]
        assert answers == [200, 200, 429], name


async def test_users_that_starlettes_authentication_found(limiter: str) -> None:
    describe = {"caller": first_of(user(), client_ip())}
    stack = [
        Middleware(AuthenticationMiddleware, backend=Names()),
        Middleware(LimitMiddleware, limiter=limiter, namespace="api", describe=describe),
    ]
    async with served(Starlette(routes=[Route("/x", hello)], middleware=stack)) as get:
        await expect_a_count_for_each_user(get)


class LitestarNames(AbstractAuthenticationMiddleware):
    """Believes a header."""

    async def authenticate_request(self, connection: Any) -> AuthenticationResult:
        """See Litestar."""
        return AuthenticationResult(user=connection.headers.get("x-user"), auth=None)


async def test_users_that_litestars_authentication_found(limiter: str) -> None:
    @litestar.get("/x")
    async def named() -> str:
        return "hello"

    describe = {"caller": first_of(user(str), client_ip())}
    async with LimiterClient(limiter) as client:
        limits = DefineMiddleware(MIDDLEWARE, limiter=client, namespace="api", describe=describe)
        stack = [DefineMiddleware(LitestarNames), limits]
        async with served(litestar.Litestar([named], middleware=stack)) as get:
            await expect_a_count_for_each_user(get)


async def test_endpoints_of_fastapi_that_are_limited_by_the_decorator(limiter: str) -> None:
    app = fastapi.FastAPI()
    app.add_exception_handler(LimitExceeded, too_many_requests)
    by_ip = {"ip": of_request(client_ip())}
    async with LimiterClient(limiter) as client:
        with SyncLimiterClient(limiter) as blocking:

            @app.get("/items/{number}")
            @limited(client, "api", describe=by_ip)
            async def item(request: fastapi.Request, number: int, factor: int = 1) -> int:
                return number * factor

            @app.get("/plain")
            @limited(blocking, "api", describe=by_ip, cost=4)
            def plain(request: fastapi.Request) -> int:
                return 1

            async with served(app) as get:
                answers = [await get("/items/7?factor=2") for _ in range(4)]
                bad = await get("/items/x")
                never = await get("/plain")

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].json() == 14
    refused = answers[3]
    assert refused.headers["content-type"] == "application/problem+json"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400 / 3
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.json()["violated-policies"] == ["per-ip"]
    assert bad.status_code == 422
    assert (never.status_code, "retry-after" in never.headers) == (429, False)


async def test_endpoints_of_starlette_that_are_limited_by_the_decorator(limiter: str) -> None:
    async with LimiterClient(limiter) as client:
        describe = {"caller": of_request(route)}
        endpoint = limited(client, "api", describe=describe)(hello)
        app = Starlette(routes=[Route("/x", endpoint)], exception_handlers={LimitExceeded: too_many_requests})
        async with served(app) as get:
            answers = [await get("/x") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["status"] == 429
