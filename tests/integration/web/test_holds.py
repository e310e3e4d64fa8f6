"""Slots are held while an answer is under way, over HTTP and gRPC, on both sides, and given back when it has ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest
from headworks_client import LimiterClient, SyncLimiterClient
from headworks_client.grpc_limits import LimitInterceptor, SyncLimitInterceptor
from headworks_client.httpx import AsyncLimitTransport, LimitTransport, RequestRefused
from headworks_client.web import LimitMiddleware
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tests.integration.limiter.serving import running
from tests.integration.web.serving import serving
from tests.support.wait import wait_until

RULES = """
namespaces:
  slots:
    rules:
      - {name: slots, match: {who: "*"}, algorithm: concurrency, limit: 1, ttl: 60s}
"""
ANN = {"who": "ann"}


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Where a limiter listens."""
    async with running("memory:", RULES) as limiter:
        yield limiter.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[LimiterClient]:
    """A client of it."""
    async with LimiterClient(address, timeout_s=20) as opened:
        yield opened


async def given_back(client: LimiterClient) -> None:
    async def free() -> bool:
        return (await client.check("slots", ANN)).allowed

    await wait_until(free, 20, what="the slot to be given back")


class Application:
    """Sends half of an answer, and the rest when it may."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.app = Starlette(routes=[Route("/", self.answer)])

    async def answer(self, _: Request) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"half"
            await self.go_on.wait()
            yield b" and half"

        return StreamingResponse(body())


async def test_a_server_holds_until_the_answer_is_sent_or_nobody_wants_it(client: LimiterClient, address: str) -> None:
    application = Application()
    limited = LimitMiddleware(application.app, address, namespace="slots", describe={"who": lambda _: "ann"})
    async with serving(limited) as server, httpx.AsyncClient(base_url=f"http://{server}", timeout=30) as caller:
        async with caller.stream("GET", "/") as answer:
            assert answer.status_code == 200
            refused = await caller.get("/")
            assert (refused.status_code, refused.json()["title"]) == (429, "Too Many Requests")
            application.go_on.set()
            assert await answer.aread() == b"half and half"
        await given_back(client)
        application.go_on.clear()
        async with caller.stream("GET", "/") as answer:
            assert answer.status_code == 200
        application.go_on.set()  # the caller has hung up
        await given_back(client)


async def test_async_requests_hold_until_the_response_is_closed(client: LimiterClient, address: str) -> None:
    application = Application()
    transport = AsyncLimitTransport(address, namespace="slots", describe={"who": lambda _: "ann"})
    async with (
        serving(application.app) as upstream,
        httpx.AsyncClient(transport=transport, base_url=f"http://{upstream}", timeout=30) as caller,
    ):
        async with caller.stream("GET", "/"):
            with pytest.raises(RequestRefused):
                await caller.get("/")
        await given_back(client)
        with pytest.raises(httpx.ConnectError):
            await caller.get("http://127.0.0.1:1/")
        await given_back(client)
        application.go_on.set()
        assert (await caller.get("/")).text == "half and half"
        await given_back(client)


async def test_blocking_requests_hold_until_the_response_is_closed(client: LimiterClient, address: str) -> None:
    application = Application()
    application.go_on.set()

    def call(upstream: str) -> None:
        transport = LimitTransport(address, namespace="slots", describe={"who": lambda _: "ann"})
        with httpx.Client(transport=transport, base_url=f"http://{upstream}", timeout=30) as caller:
            for _ in range(2):
                with caller.stream("GET", "/"), pytest.raises(RequestRefused):
                    caller.get("/")
            with pytest.raises(httpx.ConnectError):
                caller.get("http://127.0.0.1:1/")
            assert caller.get("/").text == "half and half"

    async with serving(application.app) as upstream:
        await asyncio.to_thread(call, upstream)
    await given_back(client)


class Toy:
    """Answers when it may, by every kind of call."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.may = threading.Event()

    def aio(self) -> dict[str, Any]:
        """For grpc.aio."""

        async def unary(request: bytes, _: Any) -> bytes:
            await self.go_on.wait()
            return request

        async def stream(request: bytes, _: Any) -> AsyncIterator[bytes]:
            await self.go_on.wait()
            yield request

        async def writing(request: bytes, context: Any) -> None:
            await self.go_on.wait()
            await context.write(request)

        return {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "Stream": grpc.unary_stream_rpc_method_handler(stream),
            "Writing": grpc.unary_stream_rpc_method_handler(writing),
        }

    def blocking(self) -> dict[str, Any]:
        """For the blocking server."""

        def unary(request: bytes, _: Any) -> bytes:
            self.may.wait(30)
            return request

        def stream(request: bytes, _: Any) -> Any:
            self.may.wait(30)
            yield request

        return {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "Stream": grpc.unary_stream_rpc_method_handler(stream),
        }


async def first_of(channel: Any, method: str) -> bytes:
    if method == "Unary":
        answer: bytes = await channel.unary_unary("/toy.Toy/Unary")(b"x")
        return answer
    async for message in channel.unary_stream(f"/toy.Toy/{method}")(b"x"):
        return bytes(message)
    raise AssertionError("no message")


async def calls_hold(channel: grpc.aio.Channel, client: LimiterClient, methods: list[str], toy: Toy) -> None:
    """Each kind of call holds the slot until it has ended, also by its caller's going."""

    async def taken() -> bool:
        return not (await client.check("slots", ANN)).allowed

    for method in methods:
        for ends in ("answered", "given up"):
            toy.go_on.clear()
            toy.may.clear()
            call = asyncio.ensure_future(first_of(channel, method))
            await wait_until(taken, 20, what="the slot to be taken")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await first_of(channel, method)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            if ends == "answered":
                toy.go_on.set()
                toy.may.set()
                assert await call == b"x"
            else:
                call.cancel()
                await asyncio.wait([call])
                toy.may.set()
            await given_back(client)


async def test_calls_of_an_asyncio_server_hold_until_they_have_ended(client: LimiterClient) -> None:
    toy = Toy()
    interceptor = LimitInterceptor(client, namespace="slots", describe={"who": lambda _: "ann"})
    server = grpc.aio.server(interceptors=[interceptor])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("toy.Toy", toy.aio()),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await calls_hold(channel, client, ["Unary", "Stream", "Writing"], toy)
    finally:
        await server.stop(None)


async def test_calls_of_a_blocking_server_hold_until_they_have_ended(client: LimiterClient, address: str) -> None:
    toy = Toy()
    with SyncLimiterClient(address, timeout_s=20) as blocking:
        interceptor = SyncLimitInterceptor(blocking, namespace="slots", describe={"who": lambda _: "ann"})
        server = grpc.server(ThreadPoolExecutor(4), interceptors=[interceptor])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("toy.Toy", toy.blocking()),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await calls_hold(channel, client, ["Unary", "Stream"], toy)
        finally:
            await asyncio.to_thread(server.stop(None).wait)
