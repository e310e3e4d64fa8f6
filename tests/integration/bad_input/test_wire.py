"""What comes before a request is a request: bytes, headers, sizes, and streams that say nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from headworks_core.errors import Reason
from headworks_core.grpc_errors import from_call

from tests.integration.bad_input.walk import methods
from tests.integration.bad_input.world import World, ask, running_world

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
NOISE = {
    "nothing": b"",
    "random": random.Random(7).randbytes(65_536),
    "http1": b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "tls": bytes.fromhex("160301010001000100030300") + b"\x00" * 256,
    "half a preface": PREFACE[:11],
    "frames of random": PREFACE + SETTINGS + random.Random(8).randbytes(65_536),
    "data for no stream": PREFACE + SETTINGS + b"\x00\x00\x05\x00\x00\x00\x00\x00\x07hello",
    "a frame of 16 MB": PREFACE + SETTINGS + b"\xff\xff\xff\x01\x04\x00\x00\x00\x01" + b"x" * 100_000,
}
SILENT = 200
ATTACH_TIMEOUT_S = 0.3


@pytest.fixture(scope="module")
async def world(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Both services."""
    folder: Path = tmp_path_factory.mktemp("wire")
    async with running_world(valkey_url, folder, attach_timeout_s=ATTACH_TIMEOUT_S) as running:
        yield running


async def still_serves(world: World) -> None:
    """Every unary method still answers."""
    for method in methods():
        if not method.client_streaming and method.name not in {"CancelJob", "RedriveJob"}:
            async with world.channel(method.containing_service.full_name) as channel:
                assert await ask(channel, method, world.good(method))


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
async def test_bytes_that_are_no_call_disturb_nobody(world: World, noise: bytes) -> None:
    writers = []
    for port in set(world.ports.values()):
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(noise)
            writers.append(writer)

    await still_serves(world)

    for writer in writers:
        writer.transport.abort()
    await still_serves(world)


def multi(channel: grpc.aio.Channel, method: MethodDescriptor) -> Any:
    """The method, taking and giving bytes."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    if method.client_streaming:
        return channel.stream_stream(path)
    return channel.unary_stream(path) if method.server_streaming else channel.unary_unary(path)


async def status(
    channel: grpc.aio.Channel, method: MethodDescriptor, raw: bytes, **options: Any
) -> grpc.aio.AioRpcError:
    """How a call with this message ends.

    A call that the server ends while the client writes to it gets an INTERNAL of the client's own making, and what the
    server said is lost: then the question is asked again.
    """
    while True:
        call = multi(channel, method)(iter([raw]) if method.client_streaming else raw, timeout=20, **options)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _drain(call) if method.server_streaming else await call
        if "Internal error from Core" not in (caught.value.details() or ""):
            return caught.value


async def _drain(call: Any) -> None:
    async for _ in call:
        pass


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
async def test_a_message_that_cannot_be_decoded_is_an_invalid_argument(world: World, method: MethodDescriptor) -> None:
    async with world.channel(method.containing_service.full_name) as channel:
        error = await status(channel, method, b"\x0a\xff\xff\xff\xff\x0f")

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_call(error).reason is Reason.INVALID_FIELD


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
async def test_a_message_that_is_too_long_is_refused(world: World, method: MethodDescriptor) -> None:
    async with world.channel(method.containing_service.full_name) as channel:
        error = await status(channel, method, bytes(17 << 20))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await still_serves(world)


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
async def test_metadata_of_16_kb_is_refused(world: World, method: MethodDescriptor) -> None:
    async with world.channel(method.containing_service.full_name) as channel:
        request = world.good(method).SerializeToString()
        error = await status(channel, method, request, metadata=(("x-long", "v" * 16_384),))

        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("tenant", ["UPPER", "a b", "x" * 64, "-a", "..", "{hw:0}", "a/b"])
@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
async def test_a_tenant_that_is_no_name_is_refused_everywhere(
    world: World, method: MethodDescriptor, tenant: str
) -> None:
    async with world.channel(method.containing_service.full_name) as channel:
        request = world.good(method).SerializeToString()
        error = await status(channel, method, request, metadata=(("headworks-tenant", tenant),))

        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert [violation.field for violation in from_call(error).violations] == ["headworks-tenant"]


@pytest.mark.parametrize("method", [m for m in methods() if {"name", "names"} & {*m.input_type.fields_by_name}])
async def test_another_tenants_job_is_not_found(world: World, method: MethodDescriptor) -> None:
    before = await world.contents()
    async with world.channel(method.containing_service.full_name) as channel:
        request = world.good(method).SerializeToString()
        error = await status(channel, method, request, metadata=(("headworks-tenant", "other"),))

        assert error.code() is grpc.StatusCode.NOT_FOUND
    assert await world.contents() == before


async def test_an_unknown_method_is_unimplemented(world: World) -> None:
    for service in world.ports:
        async with world.channel(service) as channel:
            call: Any = channel.unary_unary(f"/{service}/Nothing")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_sessions_that_never_attach_are_ended(world: World) -> None:
    service = "headworks.worker.v1.WorkerService"
    async with world.channel(service) as channel:
        session: Any = channel.stream_stream(f"/{service}/Session")
        calls = [session(timeout=20) for _ in range(SILENT)]
        codes = await asyncio.gather(*(call.code() for call in calls))

    assert set(codes) == {grpc.StatusCode.FAILED_PRECONDITION}
