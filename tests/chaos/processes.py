"""Processes that may die and come back: the services, and Valkey."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from headworks_devkit.backends.valkey import valkey
from headworks_devkit.health import wait_serving
from headworks_devkit.ports import free_port
from headworks_devkit.processes import Child, ChildFailed, child
from headworks_devkit.services import Service
from headworks_devkit.waiting import wait_until

LOG_LINES = 4_000
RESTART_S = 0.3
STOP_S = 25.0
"""Within which a service must be gone after SIGTERM, whatever its surroundings do."""


@dataclass(slots=True)
class Exit:
    """A process ended although nobody had told it to."""

    at: float
    name: str
    code: int
    said: list[str]


@dataclass(frozen=True)
class Stopped:
    """How a process ended that was asked to."""

    code: int
    age_s: float
    """How long it had been running."""
    took_s: float


@dataclass
class Process:
    """One service, restarted when it ends by itself, as a platform would do."""

    service: Service
    env: Mapping[str, str]
    on_exit: Callable[[Exit], None]
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by who stops and starts it on purpose."""
    started_at: float = 0.0
    _child: Child | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _keeper: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Of the service."""
        return self.service.name

    @property
    def child(self) -> Child:
        """The process that runs, or ran last."""
        assert self._child is not None
        return self._child

    async def begin(self) -> None:
        """Start it, and keep it running."""
        await self._start()
        self._keeper = asyncio.create_task(self._keep(), name=f"keeper of {self.name}")

    async def end(self) -> None:
        """Stop it for good."""
        if self._keeper:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        await self._stack.aclose()

    async def kill(self, down_s: float) -> None:
        """SIGKILL; start it again after a while."""
        async with self.lock:
            await self.child.kill()
            await asyncio.sleep(down_s)
            await self._start()

    async def restart(self) -> Stopped:
        """SIGTERM, and start it again when it has gone."""
        async with self.lock:  # whoever had it may have started the process a moment ago
            asked_at = time.time()
            age_s = asked_at - self.started_at
            code = await self.child.stop(STOP_S)
            stopped = Stopped(code, age_s, time.time() - asked_at)
            await self._start()
            return stopped

    async def pause(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        async with self.lock:
            self.child.pause()
            try:
                await asyncio.sleep(seconds)
            finally:
                self.child.resume()

    async def ready(self, timeout_s: float) -> bool:
        """Whether it says within the time that it is ready."""
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            async with self.lock:
                running = self.child
            with suppress(ChildFailed):
                await wait_serving(running, self.service.health, left)
                return True
            await asyncio.sleep(RESTART_S)
        return False

    async def _start(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        argv = [sys.executable, "-m", self.service.module]
        self.started_at = time.time()
        self._child = await self._stack.enter_async_context(
            child(self.name, argv, env={**self.env, **self.service.env}, on_line=self.log.append, grace_s=5)
        )

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RESTART_S)
            if self.lock.locked() or self.child.running:
                continue
            async with self.lock:
                code = await self.child.wait()
                self.on_exit(Exit(time.time(), self.name, code, list(self.child.tail)[-15:]))
                await self._start()


class Store:
    """Valkey with an append-only file that is synced before every answer: what it has acknowledged survives kill -9."""

    OPTIONS: Mapping[str, str] = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = AsyncExitStack()
        self.port = free_port()
        self.pid = 0

    async def begin(self) -> None:
        """Start it, with what it had stored. Raises ChildFailed."""
        backend = await self._stack.enter_async_context(valkey(self.OPTIONS, port=self.port, directory=self._directory))
        assert backend.pid is not None
        self.pid = backend.pid

    async def end(self) -> None:
        """SIGTERM."""
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def kill(self, down_s: float) -> None:
        """SIGKILL; start it again after a while."""
        os.kill(self.pid, signal.SIGKILL)
        await wait_until(lambda: not _exists(self.pid), what="Valkey to be reaped")
        await self.end()
        await asyncio.sleep(down_s)
        await self.begin()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def pause_pid(pid: int, seconds: float) -> None:
    """SIGSTOP, and SIGCONT after a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
