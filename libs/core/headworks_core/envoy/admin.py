"""Envoy's admin API, on a socket that only we can open."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

TIMEOUT_S = 5.0


async def ask(admin: Path, method: str, path: str) -> str:
    """The body of the answer. Raises OSError, TimeoutError, and ValueError for another answer than 200."""
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_unix_connection(str(admin))
        try:
            head = f"{method} {path} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            writer.write(head.encode())
            status = await reader.readline()
            chunked = False
            while (line := await reader.readline()).strip():
                chunked = chunked or line.strip().lower() == b"transfer-encoding: chunked"
            body = await (_chunks(reader) if chunked else reader.read())
        finally:
            writer.close()
            await writer.wait_closed()
    if status.split(b" ")[1:2] != [b"200"]:
        raise ValueError(f"Envoy's admin API answers {path} with {status!r}")
    return body.decode()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while size := int((await reader.readline()).strip() or b"0", 16):
        found += await reader.readexactly(size)
        await reader.readline()
    return bytes(found)


async def bound_port(admin: Path, listener: str) -> int | None:
    """The port that a listener is bound to; None as long as it is not. Raises as `ask`."""
    told = json.loads(await ask(admin, "GET", "/listeners?format=json"))
    for status in told.get("listener_statuses", []):
        if status["name"] == listener:
            port: int = status["local_address"]["socket_address"]["port_value"]
            return port or None
    return None


async def send_away(admin: Path) -> None:
    """Accept no more connections, and ask those that are open to end with what is under way. Raises as `ask`."""
    await ask(admin, "POST", "/drain_listeners?graceful")
