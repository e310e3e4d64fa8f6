"""The side inside Envoy: an ASGI application that lives as long as a service does.

Signals belong to Envoy here, and Envoy to the process that started it; what that one says decides when the service
ends. This module is imported by the Python within Envoy only.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from headworks_core.envoy import admin, control
from headworks_core.envoy.application import Application
from headworks_core.envoy.calls import Receive, Send
from headworks_core.envoy.control import Control
from headworks_core.serving import settle_garbage

log = structlog.get_logger(__name__)


class Within:
    """What a service that runs inside Envoy has instead of a gRPC server and signals."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._reloads: list[Callable[[], None]] = []
        self.envoy_ends = False
        """Envoy is on its way out by itself, and its admin API answers no more."""
        self.application = Application(self._send_away)

    async def _send_away(self) -> None:
        if self.envoy_ends:
            return
        try:
            await admin.send_away(self._socket_path)
        except (OSError, ValueError, TimeoutError) as error:
            log.warning("envoy.not_drained", error=repr(error))

    @asynccontextmanager
    async def on_reload(self, *asks: Callable[[], None]) -> AsyncIterator[None]:
        """These are called when the service should read its files again, while the block runs."""
        self._reloads.extend(asks)
        try:
            yield
        finally:
            self._reloads.clear()

    def reload(self) -> None:
        """Tell all who want to know."""
        for ask in self._reloads:
            ask()


Build = Callable[[str, Within], AbstractAsyncContextManager[object]]
"""The service from its settings, running while the block does; the settings are those that its starter handed over."""


class Embedded:
    """The ASGI application that Envoy imports."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._serve: Application | None = None

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or live and die with Envoy."""
        if self._serve is not None and scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        line = await Control.on(socket.socket(fileno=int(os.environ[control.DESCRIPTOR])))
        told = await line.hear()
        if told is None:
            _die()
            return
        within = Within(Path(told["admin"]))
        stop = asyncio.Event()
        listening = asyncio.create_task(_listen(line, within, stop), name="control")
        ending = asyncio.create_task(_ending(receive, within, stop), name="lifespan")
        try:
            async with self._build(told["settings"], within):
                self._serve = within.application
                settle_garbage()
                await send({"type": "lifespan.startup.complete"})
                line.tell(control.READY)
                await stop.wait()
                log.info("service.stopping")
            log.info("service.stopped")
        except Exception as error:
            log.error("service.failed", error=str(error))
            line.tell(control.FAILED, why=str(error))
            if self._serve is None:
                await _wait_for_the_end(listening)
                return
        line.tell(control.STOPPED)
        await ending
        listening.cancel()
        await line.close()
        await send({"type": "lifespan.shutdown.complete"})


async def _listen(line: Control, within: Within, stop: asyncio.Event) -> None:
    while (told := await line.hear()) is not None:
        if told["what"] == control.STOP:
            stop.set()
        elif told["what"] == control.RELOAD:
            within.reload()
    _die()


async def _ending(receive: Receive, within: Within, stop: asyncio.Event) -> None:
    await receive()
    within.envoy_ends = True
    stop.set()


async def _wait_for_the_end(listening: asyncio.Task[None]) -> None:
    """Whoever started us has been told, and ends us."""
    with suppress(asyncio.CancelledError):
        await listening


def _die() -> None:
    """Nobody is there to tell us anything: no child outlives its parent."""
    os.kill(os.getpid(), signal.SIGKILL)
