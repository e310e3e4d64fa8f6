"""A real HTTP server around an ASGI application."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import uvicorn

from tests.support.wait import wait_until


@asynccontextmanager
async def serving(made: Any, *, lifespan: Literal["on", "off"] = "on") -> AsyncIterator[str]:
    """Its address."""
    # With the protocol named, asyncio sends small answers at once (TCP_NODELAY).
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(made, log_level="error", lifespan=lifespan, proxy_headers=False))
    running_server = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await wait_until(lambda: _started(server), 20, what="the HTTP server")
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running_server
        listening.close()


async def _started(server: uvicorn.Server) -> bool:
    return server.started
