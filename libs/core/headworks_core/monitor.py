"""What a service tells people and probes over HTTP: `/metrics`, `/livez`, `/readyz`.

A few lines on asyncio instead of a web server: one GET a connection, bounded in size, time and number. It runs on the
service's event loop on purpose: if that is stuck, `/livez` does not answer, and that is its verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import structlog

from headworks_core.loops import running
from headworks_core.measures import watch_loop
from headworks_core.metrics import Metrics

log = structlog.get_logger(__name__)

HEAD_BYTES = 8 << 10
TIME_S = 10.0  # for a connection, from its opening to its end
CONNECTIONS = 32
TEXT = "text/plain; charset=utf-8"
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}

Reply = tuple[int, bytes, str]
"""Status, body, content type."""
Page = Callable[[Mapping[str, str]], Awaitable[Reply]]


class Monitor:
    """Answers HTTP requests with pages."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        """`pages` by path; each gets the request's headers, names in lower case."""
        self._pages = pages
        self._open: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            async with asyncio.timeout(TIME_S):
                if len(self._open) <= CONNECTIONS:
                    await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the other side's doing
        finally:
            self._open.discard(task)
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status, body, kind = await self._answer(head.decode("latin-1"))
        headers = (
            f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\nCache-Control: no-store\r\n\r\n"
        )
        writer.write(headers.encode() + (b"" if head.startswith(b"HEAD ") else body))
        await writer.drain()

    async def _answer(self, head: str) -> Reply:
        first, *lines = head.split("\r\n")
        words = first.split(" ")
        if len(words) != 3:
            return 400, b"no HTTP request\n", TEXT
        page = self._pages.get(words[1].partition("?")[0])
        if page is None:
            return 404, "".join(f"{path}\n" for path in self._pages).encode(), TEXT
        if words[0] not in {"GET", "HEAD"}:
            return 405, b"GET only\n", TEXT
        return await page({name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)})

    async def close(self) -> None:
        """End the connections that are open."""
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=1)


@asynccontextmanager
async def monitoring(address: str, metrics: Metrics, faults: Callable[[], list[str]]) -> AsyncIterator[str]:
    """Serve while the block runs; yields the address, with the port that was bound. An empty address serves nothing.

    `faults` are the reasons for which the service is not ready now. Raises OSError when the address cannot be bound.
    """
    if not address:
        yield ""
        return

    async def scrape(headers: Mapping[str, str]) -> Reply:
        body, kind = await metrics.text(headers.get("accept", ""))
        return 200, body, kind

    async def live(_: Mapping[str, str]) -> Reply:
        return 200, b"ok\n", TEXT

    async def ready(_: Mapping[str, str]) -> Reply:
        found = faults()
        return (503, "".join(f"{fault}\n" for fault in found).encode(), TEXT) if found else (200, b"ready\n", TEXT)

    monitor = Monitor({"/metrics": scrape, "/livez": live, "/readyz": ready})
    host, _, port = address.rpartition(":")
    server = await asyncio.start_server(monitor.accept, host.strip("[]"), int(port), limit=HEAD_BYTES)
    bound = f"{host}:{server.sockets[0].getsockname()[1]}"
    log.info("monitor.serving", address=bound)
    try:
        async with running(watch_loop()):
            yield bound
    finally:
        server.close()
        await monitor.close()
        metrics.close()
