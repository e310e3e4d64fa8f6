"""The gRPC interceptors: real servers of both kinds, every kind of call, a real limiter."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from headworks_client import LimiterClient, SyncLimiterClient
from headworks_client.grpc_limits import LimitInterceptor, SyncLimitInterceptor, metadata, method

from tests.integration.limiter.serving import running
from tests.support.listening import deaf, listening
from tests.support.ports import free_port

RULES = """
namespaces:
  api:
    rules:
      - {name: per-caller, match: {caller: "*"}, limit: 3/day}
      - {name: method, match: {method: /toy.Toy/*}, limit: 1000/day}
"""
KINDS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")
DESCRIBE = {"method": method, "caller": metadata("x-caller")}


def sync_handlers() -> dict[str, Any]:
    def unary_unary(request: bytes, context: Any) -> bytes:
        return request

    def unary_stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield request

    def stream_unary(requests: Iterator[bytes], context: Any) -> bytes:
        return b"".join(requests)

    def stream_stream(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        yield from requests

    return made(unary_unary, unary_stream, stream_unary, stream_stream)


def aio_handlers() -> dict[str, Any]:
    async def unary_unary(request: bytes, context: Any) -> bytes:
        return request

    async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request

    async def stream_unary(requests: Any, context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def stream_stream(requests: Any, context: Any) -> None:
        async for request in requests:
            await context.write(request)

    return made(unary_unary, unary_stream, stream_unary, stream_stream)


def made(*calls: Any) -> dict[str, Any]:
    makers = (
        grpc.unary_unary_rpc_method_handler,
        grpc.unary_stream_rpc_method_handler,
        grpc.stream_unary_rpc_method_handler,
        grpc.stream_stream_rpc_method_handler,
    )
    return {kind: make(call) for kind, make, call in zip(KINDS, makers, calls, strict=True)}


@asynccontextmanager
async def aio_server(limiter: str, **options: Any) -> AsyncIterator[str]:
    async with LimiterClient(limiter) as client:
        server = grpc.aio.server(interceptors=[LimitInterceptor(client, **options)])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("toy.Toy", aio_handlers()),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(1)


@asynccontextmanager
async def sync_server(limiter: str, **options: Any) -> AsyncIterator[str]:
    with SyncLimiterClient(limiter) as client:
        server = grpc.server(ThreadPoolExecutor(4), interceptors=[SyncLimitInterceptor(client, **options)])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("toy.Toy", sync_handlers()),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await asyncio.to_thread(server.stop(1).wait)


SERVERS = {"aio": aio_server, "sync": sync_server}


@pytest.fixture(params=SERVERS)
async def target(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A server behind a limiter."""
    async with (
        running("memory:", RULES) as limiter,
        SERVERS[request.param](limiter.address, namespace="api", describe=DESCRIBE) as address,
    ):
        yield address


def call(channel: Any, kind: str, caller: str = "") -> bytes:
    """Make a call of this kind; blocks."""
    given = (("x-caller", caller),) if caller else ()
    name = f"/toy.Toy/{kind}"
    if kind == "UnaryUnary":
        return bytes(channel.unary_unary(name)(b"a", metadata=given, timeout=20))
    if kind == "UnaryStream":
        return b"".join(channel.unary_stream(name)(b"a", metadata=given, timeout=20))
    if kind == "StreamUnary":
        return bytes(channel.stream_unary(name)(iter([b"a"]), metadata=given, timeout=20))
    return b"".join(channel.stream_stream(name)(iter([b"a"]), metadata=given, timeout=20))


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_of_every_kind_pass_until_a_limit_is_used_up(target: str, kind: str) -> None:
    def four() -> grpc.RpcError:
        with grpc.insecure_channel(target) as channel:
            assert [call(channel, kind, "ann") for _ in range(3)] == [b"a"] * 3
            with pytest.raises(grpc.RpcError) as refused:
                call(channel, kind, "ann")
            assert call(channel, kind, "bob") == call(channel, kind) == b"a"
            return refused.value

    error: Any = await asyncio.to_thread(four)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "a limit is used up; try again in " in error.details()
    status = rpc_status.from_call(error)
    assert status is not None
    failure, retry = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(failure)
    assert status.details[1].Unpack(retry)
    assert [(each.subject, each.description) for each in failure.violations] == [
        ("per-caller", "the limit of 3 is used up")
    ]
    assert 86_400 / 3 - 60 < retry.retry_delay.ToSeconds() <= 86_400 / 3


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize(("wish", "code"), [("allow", None), ("deny", grpc.StatusCode.UNAVAILABLE)])
async def test_a_limiter_that_is_away_is_what_the_setting_says(kind: str, wish: str, code: Any) -> None:
    def ask(address: str) -> Any:
        with grpc.insecure_channel(address) as channel:
            try:
                call(channel, "UnaryUnary", "ann")
            except grpc.RpcError as error:
                return error.code()

    options = {"namespace": "api", "describe": DESCRIBE, "on_unavailable": wish}
    async with SERVERS[kind](f"127.0.0.1:{free_port()}", **options) as address:
        assert await asyncio.to_thread(ask, address) is code


async def test_a_limiter_that_is_slow_does_not_keep_the_blocking_server_from_taking_calls() -> None:
    """Interceptors of the blocking server run on the thread that takes calls in; what waits there stops everything."""
    waiting = threading.Event()

    def ask(address: str) -> bytes:
        opened: Any = grpc.insecure_channel(address)
        with opened as channel:
            stuck = channel.unary_unary("/toy.Toy/UnaryUnary").future(b"a", metadata=(("x-caller", "ann"),))
            waiting.set()
            answer = channel.unary_unary("/toy.Toy/UnaryUnary")(b"b", timeout=20)  # without a caller: nobody is asked
            assert not stuck.done()
            stuck.cancel()
            return bytes(answer)

    describe = {"caller": metadata("x-caller")}
    async with (
        listening(deaf) as port,
        sync_server(f"127.0.0.1:{port}", namespace="api", describe=describe) as address,
    ):
        assert await asyncio.to_thread(ask, address) == b"b"


async def test_costs_and_methods_that_are_left_out() -> None:
    port = free_port()
    options = {"namespace": "api", "describe": DESCRIBE, "exclude": ["/toy.Toy/Stream*"], "cost": lambda details: 2}
    async with (
        running("memory:", RULES, address=f"127.0.0.1:{port}"),
        aio_server(f"127.0.0.1:{port}", **options) as address,
    ):

        def ask() -> list[bytes]:
            with grpc.insecure_channel(address) as channel:
                answers = [call(channel, "StreamUnary", "ann") for _ in range(5)]
                answers.append(call(channel, "UnaryUnary", "ann"))
                with pytest.raises(grpc.RpcError):
                    call(channel, "UnaryUnary", "ann")
                return answers

        assert await asyncio.to_thread(ask) == [b"a"] * 6
