"""The ASGI application that answers for servicers, whichever protocol a caller speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc

from headworks_core.envoy import connect, framing
from headworks_core.envoy.bodies import CallerGone
from headworks_core.envoy.calls import Call, Head, Receive, Send, Watch
from headworks_core.envoy.methods import Method, methods_of
from headworks_core.envoy.streams import serve_stream
from headworks_core.errors import Reason, ServiceError, Unavailable
from headworks_core.serving import Health, Registered

GRPC = frozenset({b"application/grpc", b"application/grpc+proto"})
ACCEPTED = b"application/grpc, application/grpc-web, application/grpc-web-text, application/json, application/proto"
CANCEL_S = 1.0


class Application:
    """Methods by path. Nothing is served before `serve` and after it."""

    def __init__(self, send_away: Callable[[], Awaitable[None]]) -> None:
        """`send_away` asks the connections that are open to go elsewhere."""
        self._send_away = send_away
        self._methods: Mapping[str, Method] = {}
        self._limit = 0
        self._open = False
        self._running: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()

    @asynccontextmanager
    async def serve(
        self,
        services: Sequence[Registered],
        *,
        address: str,
        grace_s: float,
        max_message_bytes: int = 4 << 20,
        drain: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncIterator[tuple[int, Health]]:
        """As `grpc_server`; the port is what the address says, for Envoy binds it."""
        health = Health([service.name for service in services])
        self._methods = methods_of(services, health)
        self._limit = max_message_bytes
        await health.start()
        self._open = True
        try:
            yield int(address.rpartition(":")[2]), health
        finally:
            await health.set_ready(False)
            if drain is not None:
                await drain()
            await self._send_away()
            await self._finish(grace_s)

    async def _finish(self, grace_s: float) -> None:
        """Running calls get `grace_s` seconds; those that come meanwhile, on closing connections, are answered."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._running:
                    self._idle.clear()
                    await self._idle.wait()
        self._open = False
        left = list(self._running)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CANCEL_S)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._serve(scope, receive, send)
        except CallerGone:
            return
        finally:
            self._running.discard(task)
            if not self._running:
                self._idle.set()

    async def _serve(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        head = Head(scope["headers"])
        kind = head.content_type
        method = self._methods.get(scope["path"])
        if kind in GRPC:
            await self._grpc(method, head, receive, send)
        elif kind not in connect.CONTENT_TYPES:
            await _refuse(send, 415, (b"accept-post", ACCEPTED))
        elif scope["method"] != "POST":
            await _refuse(send, 405, (b"allow", b"POST"))
        else:
            await self._connect(method, kind, head, receive, send)

    async def _grpc(self, method: Method | None, head: Head, receive: Receive, send: Send) -> None:
        if method is not None and method.streaming and self._open:
            await serve_stream(method, head, receive, send, self._limit)
            return
        call, reply = await self._unary(method, head, receive, framing.timeout_s, framing.read_message, _parse)
        if reply is None:
            await framing.fail(send, call)
        else:
            await framing.answer(send, reply)

    async def _connect(self, method: Method | None, kind: bytes, head: Head, receive: Receive, send: Send) -> None:
        as_json = kind == connect.JSON
        if method is not None and (method.streaming or (as_json and not method.has_json)):
            method = None
        parse = _parse_json if as_json else _parse
        call, reply = await self._unary(method, head, receive, connect.timeout_s, connect.read_message, parse)
        if reply is None or method is None:
            await connect.fail(send, call)
        else:
            await connect.answer(send, kind, method.as_json(reply) if as_json else reply)

    async def _unary(
        self,
        method: Method | None,
        head: Head,
        receive: Receive,
        timeout_s: Callable[[Head], float | None],
        read_message: Callable[[Head, Receive, int], Awaitable[bytes]],
        parse: Callable[[Method, bytes], Any],
    ) -> tuple[Call, bytes | None]:
        """The call, and the reply if it went well."""
        try:
            remaining_s = timeout_s(head)
            raw = await read_message(head, receive, self._limit)
            if not self._open:
                raise Unavailable("this replica is going away", reason=Reason.SHUTTING_DOWN)
        except ServiceError as error:
            call = Call(head.metadata, None)
            await call.fail(error)
            return call, None
        call = Call(head.metadata, remaining_s)
        if method is None:
            call.end(grpc.StatusCode.UNIMPLEMENTED, "no such method here, or one that needs gRPC streams")
            return call, None
        watch = Watch(receive, remaining_s)
        try:
            return call, method.serialize(await method.handle(parse(method, raw), call))
        except grpc.aio.AbortError:
            return call, None
        except asyncio.CancelledError:
            if not watch.caught():
                raise
            if watch.gone:
                raise CallerGone from None
            call.end(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")
            return call, None
        finally:
            watch.end()


def _parse(method: Method, raw: bytes) -> Any:
    return method.parse(raw)


def _parse_json(method: Method, raw: bytes) -> Any:
    return method.parse_json(raw)


async def _refuse(send: Send, status: int, header: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [header, (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
