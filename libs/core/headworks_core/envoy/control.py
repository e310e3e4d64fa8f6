"""What the process that starts Envoy and the Python inside it say to each other: a line of JSON each.

Down: the settings, then `reload` any number of times, then `stop`; its end means that the starter is dead. Up: `ready`
or `failed`, then `stopped`.
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

DESCRIPTOR = "HEADWORKS_ENVOY_CONTROL"
"""The variable with the number of the socket's file descriptor."""
LINE_BYTES = 1 << 20
RELOAD, STOP = "reload", "stop"
READY, FAILED, STOPPED = "ready", "failed", "stopped"


class Control:
    """One end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def on(cls, end: socket.socket) -> Control:
        """The end that this socket is; it belongs to us from now on."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=LINE_BYTES))

    def tell(self, what: str, **more: Any) -> None:
        """Say something; whoever cannot hear it any more is told nothing."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps({"what": what, **more}).encode() + b"\n")

    async def hear(self) -> dict[str, Any] | None:
        """What the other end says next; None when it has gone."""
        try:
            line = await self._reader.readline()
        except (ConnectionError, ValueError):
            return None
        told: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
        return told

    async def close(self) -> None:
        """Say and hear no more."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
