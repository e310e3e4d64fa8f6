"""The limiter in front of an ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from headworks_core.errors import Reason, ServiceError

from headworks_client.decisions import Decision
from headworks_client.descriptors import descriptors, permits
from headworks_client.holding import Hold
from headworks_client.limiter import LimiterClient
from headworks_client.web.answers import about, raw
from headworks_client.web.headers import JSON, Dialect, Headers, limit_headers, problem
from headworks_client.web.keys import Key, Scope, client_ip, route

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Cost = Callable[[Scope], int]

log = logging.getLogger(__name__)

TRY_AGAIN = 1013
"""How a WebSocket is closed that may not be opened now, where the server cannot answer it with a 429."""


class LimitMiddleware:
    """Asks the limiter before each request; what it refuses gets a 429 and does not reach the application.

    What is put in turn by a leaky_bucket rule waits for its turn; what concurrency rules hold is given back when the
    application has answered.
    """

    def __init__(
        self,
        app: App,
        limiter: LimiterClient | str,
        *,
        namespace: str,
        tenant: str = "default",
        describe: Mapping[str, Key] | None = None,
        cost: int | Cost | None = None,
        exclude: Sequence[str] = (),
        headers: Dialect | str = Dialect.X_RATELIMIT,
        on_unavailable: Literal["allow", "deny"] = "allow",
    ) -> None:
        """`limiter` is a client that is open, or an address to connect to on behalf of `tenant`.

        `describe` says what each descriptor is; by default `ip` (without trusted proxies) and `route`. A request with
        none, or whose path fits a pattern of `exclude` (`/static/*`), is let through unasked. `cost` is in permits;
        None leaves it to the rules' cost table. A limiter that cannot be asked, or does not know the namespace, lets
        everything through or (deny) nothing: 503. Raises ValueError for an unknown dialect.
        """
        self._app = app
        self._target, self._tenant = (limiter, tenant) if isinstance(limiter, str) else ("", "")
        self._client = limiter if isinstance(limiter, LimiterClient) else None
        self._namespace = namespace
        self._describe = {"ip": client_ip(), "route": route} if describe is None else dict(describe)
        self._cost = cost
        self._exclude = tuple(exclude)
        self._dialect = Dialect(headers)
        self._on_unavailable = on_unavailable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        descriptors = self._descriptors(scope)
        if not descriptors:
            await self._app(scope, receive, send)
            return
        try:
            decision = await self._ask(scope, descriptors)
        except ServiceError as error:
            await self._undecided(error, scope, receive, send)
            return
        extra = limit_headers(decision, self._dialect)
        if not decision.allowed:
            await _answer(scope, send, 429, problem(decision), extra)
            return
        assert self._client is not None
        hold = Hold(self._client, decision)
        hold.begin()
        try:
            if decision.wait_s > 0:
                await asyncio.sleep(decision.wait_s)
            await self._app(scope, receive, _adding(extra, send))
        finally:
            hold.end()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            if self._target and self._client is not None:
                client, self._client = self._client, None
                await client.__aexit__(None, None, None)

    def _descriptors(self, scope: Scope) -> dict[str, str]:
        if scope["type"] not in {"http", "websocket"}:
            return {}
        if any(fnmatchcase(scope.get("path", ""), pattern) for pattern in self._exclude):
            return {}
        return descriptors((name, key(scope)) for name, key in self._describe.items())

    async def _ask(self, scope: Scope, descriptors: Mapping[str, str]) -> Decision:
        if self._client is None:
            self._client = LimiterClient(self._target, tenant=self._tenant)
            self._client.open()
        cost = self._cost if self._cost is None or isinstance(self._cost, int) else self._cost(scope)
        detail_all = self._dialect is Dialect.RATELIMIT
        return await self._client.consume(self._namespace, descriptors, permits(cost), detail_all=detail_all)

    async def _undecided(self, error: ServiceError, scope: Scope, receive: Receive, send: Send) -> None:
        if error.reason is Reason.PERMITS_EXCEED_LIMIT:  # asking again would never help
            await _answer(scope, send, 429, about(429, "Too Many Requests", error.message), [])
            return
        log.warning("the limiter did not decide: %s (%s)", error.message, self._on_unavailable)
        if self._on_unavailable == "allow":
            await self._app(scope, receive, send)
        else:
            body = about(503, "Service Unavailable", "the limiter cannot be asked")
            await _answer(scope, send, 503, body, [("retry-after", "1")])


def _adding(extra: Headers, send: Send) -> Send:
    if not extra:
        return send

    async def adding(message: Message) -> None:
        if message["type"] in {"http.response.start", "websocket.accept"}:
            message = {**message, "headers": [*message.get("headers", ()), *raw(extra)]}
        await send(message)

    return adding


async def _answer(scope: Scope, send: Send, status: int, body: bytes, extra: Headers) -> None:
    """Answer in place of the application."""
    kind = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": TRY_AGAIN})
            return
        kind = "websocket.http"
    headers = raw([("content-type", JSON), ("content-length", str(len(body))), *extra])
    await send({"type": f"{kind}.response.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": b"" if scope.get("method") == "HEAD" else body})
