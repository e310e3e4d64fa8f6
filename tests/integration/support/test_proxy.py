"""The proxy does to connections what it says, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.support.listening import listening
from tests.support.proxy import LIMIT_SLOW, Proxy, proxy
from tests.support.wait import wait_until


@dataclass
class Upstream:
    """A server that echoes, or only reads when it is told to."""

    address: str = ""
    received: int = 0
    ends: list[str] = field(default_factory=list)
    """How each connection ended, as the server saw it: "eof" or "reset"."""
    reading: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            await self.reading.wait()
            while data := await reader.read(65536):
                self.received += len(data)
                writer.write(data)
                await writer.drain()
            self.ends.append("eof")
        except ConnectionError:
            self.ends.append("reset")
        finally:
            writer.close()


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    """It, listening."""
    running = Upstream()
    running.reading.set()
    async with listening(running.serve) as port:
        running.address = f"127.0.0.1:{port}"
        yield running


@pytest.fixture
async def server() -> AsyncIterator[Upstream]:
    """An echo server."""
    async with upstream() as running:
        yield running


@pytest.fixture
async def through(server: Upstream) -> AsyncIterator[Proxy]:
    """A proxy in front of it; in the end it has left no task behind."""
    before = asyncio.all_tasks()
    async with proxy(server.address) as running:
        yield running
    assert running.connections == 0
    assert not [t for t in asyncio.all_tasks() - before if "_connect" in repr(t)]


@asynccontextmanager
async def connected(to: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client's connection, closed in the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", to.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> float:
    """Send and wait for the echo. Returns seconds."""
    began = time.monotonic()
    writer.write(data)
    async with asyncio.timeout(20):
        assert await reader.readexactly(len(data)) == data
    return time.monotonic() - began


async def test_bytes_pass_in_order_and_are_counted(server: Upstream, through: Proxy) -> None:
    data = bytes(range(256)) * 4096
    async with connected(through) as (reader, writer):
        await exchange(reader, writer, data)

        assert (through.connections, through.accepted) == (1, 1)
        assert (through.up.bytes, through.down.bytes) == (len(data), len(data))


async def test_an_end_of_stream_passes_one_way_at_a_time(server: Upstream, through: Proxy) -> None:
    async with connected(through) as (reader, writer):
        writer.write(b"last words")
        writer.write_eof()
        async with asyncio.timeout(10):
            assert await reader.read(-1) == b"last words"

    await wait_until(lambda: server.ends == ["eof"] and through.connections == 0, 10)


async def test_latency_applies_to_each_direction_on_its_own(through: Proxy) -> None:
    async with connected(through) as (reader, writer):
        await exchange(reader, writer, b"warm")
        through.delay(0.1, "up")
        one_way = await exchange(reader, writer, b"x")
        through.delay(0.1)
        both = await exchange(reader, writer, b"x")
        await through.clear()
        none = min([await exchange(reader, writer, b"x") for _ in range(5)])

    assert one_way >= 0.1
    assert both >= 0.2
    assert none < 0.1


async def test_latency_does_not_limit_what_is_under_way(server: Upstream) -> None:
    async with proxy(server.address) as through, connected(through) as (reader, writer):
        through.delay(0.2)
        writer.write(b"a" * 1000)
        await wait_until(lambda: server.received == 1000, 10)
        began = time.monotonic()
        for _ in range(20):
            writer.write(b"c" * 1000)
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await reader.readexactly(21_000)

    assert time.monotonic() - began < 20 * 0.2


async def test_a_cut_resets_both_ends(server: Upstream, through: Proxy) -> None:
    async with connected(through) as (reader, writer):
        await exchange(reader, writer, b"hello")
        assert through.cut() == 1
        with pytest.raises(ConnectionResetError):
            await reader.read(1)

    await wait_until(lambda: server.ends == ["reset"] and through.connections == 0, 10)


async def test_a_clients_reset_reaches_the_server(server: Upstream, through: Proxy) -> None:
    async with connected(through) as (reader, writer):
        await exchange(reader, writer, b"hello")
        inner = Proxy(through.address)
        await inner.accept()
        async with connected(inner) as (second_reader, second_writer):
            await exchange(second_reader, second_writer, b"hello")
            await inner.close()

        await wait_until(lambda: server.ends == ["reset"], 10)
        await exchange(reader, writer, b"still here")


async def test_refused_connections_fail_at_once_and_open_ones_go_on(through: Proxy) -> None:
    async with connected(through) as (reader, writer):
        await exchange(reader, writer, b"open")
        through.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", through.port)
        await exchange(reader, writer, b"goes on")
        await through.accept()
        async with connected(through) as (second, second_writer):
            await exchange(second, second_writer, b"new")


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_stalled_direction_holds_everything_and_the_other_flows(
    server: Upstream, through: Proxy, way: str
) -> None:
    async with connected(through) as (reader, writer):
        await exchange(reader, writer, b"before")
        through.stall("up" if way == "up" else "down")
        writer.write(b"held")
        if way == "down":
            await wait_until(lambda: server.received == len(b"beforeheld"), 10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        assert server.received == len(b"before") + (4 if way == "down" else 0)
        await through.clear()
        async with asyncio.timeout(10):
            assert await reader.readexactly(4) == b"held"


async def test_a_held_end_of_stream_waits_too(server: Upstream, through: Proxy) -> None:
    async with connected(through) as (reader, writer):
        await exchange(reader, writer, b"before")
        through.stall("up")
    with pytest.raises(TimeoutError):
        await wait_until(lambda: server.ends != [], 0.2)
    await through.clear()

    await wait_until(lambda: server.ends != [] and through.connections == 0, 10)


async def test_a_stall_pushes_back_on_the_sender(server: Upstream) -> None:
    async with proxy(server.address, buffer=64 << 10) as through, connected(through) as (reader, writer):
        await exchange(reader, writer, b"before")
        through.stall("up")
        writer.transport.set_write_buffer_limits(high=1)
        writer.write(b"x" * (64 << 20))
        (pipe,) = [link.client for link in through.links]
        await wait_until(lambda: pipe._size >= LIMIT_SLOW, 10)
        kept = pipe._size

        assert kept < LIMIT_SLOW + (1 << 20)
        assert server.received == len(b"before")


async def test_dropped_bytes_are_gone_and_the_connection_with_them(server: Upstream, through: Proxy) -> None:
    async with connected(through) as (reader, writer), connected(through) as (second, second_writer):
        await exchange(reader, writer, b"before")
        await exchange(second, second_writer, b"before")
        through.stall("up", drop=True)
        writer.write(b"lost")
        (robbed,) = [
            link.client
            for link in through.links
            if link.client.transport
            and link.client.transport.get_extra_info("peername") == writer.get_extra_info("sockname")
        ]
        await wait_until(lambda: robbed.dropped, 10)
        await through.clear()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        await exchange(second, second_writer, b"nothing of mine was lost")

    assert server.received == 2 * len(b"before") + len(b"nothing of mine was lost")


async def test_a_throttled_direction_keeps_to_its_rate_and_the_senders_wait(through: Proxy) -> None:
    async with connected(through) as (reader, writer):
        await exchange(reader, writer, b"before")
        through.throttle(100_000, "down")
        took = await exchange(reader, writer, b"x" * 50_000)
        await through.clear()
        free = await exchange(reader, writer, b"x" * 50_000)

    assert took > 0.4
    assert free < took


async def test_a_server_that_is_not_there_resets_the_client(server: Upstream, through: Proxy) -> None:
    gone = Proxy("127.0.0.1:9")
    through.target = gone.address  # bound, and nobody listens
    async with connected(through) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
    await gone.close()


async def test_clear_is_harmless_without_faults(through: Proxy) -> None:
    async with connected(through) as (reader, writer):
        for _ in range(3):
            await through.clear()
            await exchange(reader, writer, b"same connection")

    assert through.accepted == 1
