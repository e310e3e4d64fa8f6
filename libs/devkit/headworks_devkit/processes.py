"""Child processes that never outlive us: started, watched, stopped and reaped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

LAUNCHER = Path(__file__).with_name("_launch.py")
LOG_TAIL_LINES = 40


class ChildFailed(RuntimeError):
    """A process ended or stayed silent where it was needed; the message has the end of its log."""


@dataclass
class Child:
    """One running process. Signals to one that has already ended do nothing."""

    name: str
    process: asyncio.subprocess.Process
    log: Path | None = None
    """Where its output goes; None: `process.stdout`."""
    _paused: bool = field(default=False, repr=False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.returncode is None

    async def wait(self) -> int:
        """Its exit code (negative: the signal that ended it), once it has ended."""
        return await self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: it stays alive and does nothing."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)
        self._paused = False

    async def kill(self) -> int:
        """SIGKILL, and wait."""
        self._signal(signal.SIGKILL)
        return await self.wait()

    async def stop(self, grace_s: float = 10.0) -> int:
        """SIGTERM, and SIGKILL if it is still there after `grace_s` seconds."""
        self._signal(signal.SIGTERM)
        if self._paused:
            self.resume()
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            return await self.kill()
        except asyncio.CancelledError:
            self._signal(signal.SIGKILL)
            raise

    def output(self) -> str:
        """All it has written so far; empty unless it writes to a log file."""
        return self.log.read_text(errors="replace") if self.log is not None and self.log.exists() else ""

    def failed(self, why: str) -> ChildFailed:
        """The error that says `why`, with the end of the log."""
        tail = "\n".join(self.output().splitlines()[-LOG_TAIL_LINES:])
        return ChildFailed(f"{self.name} {why}" + (f"; the end of its log:\n{tail}" if tail else ""))

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


@asynccontextmanager
async def child(
    name: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
    grace_s: float = 10.0,
) -> AsyncIterator[Child]:
    """Run a program while the block does; leaving it stops and reaps the process.

    `env` is added to our own environment. Output goes to the file `log`, or without one to a pipe that the caller must
    read. The process has a session of its own, so a terminal's Ctrl-C reaches only us; on Linux the kernel kills it
    should we die first. Start it from a thread that lives on: the kernel takes that thread for the parent.
    """
    launched = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *argv]
    with ExitStack() as opened:
        sink = opened.enter_context(log.open("ab")) if log is not None else asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *launched,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=1 << 20,
        )
    started = Child(name, process, log)
    try:
        yield started
    finally:
        await _end(started, grace_s)


async def _end(started: Child, grace_s: float) -> None:
    if not started.running:
        return
    try:
        await started.stop(grace_s)
    finally:
        if started.running:  # cancelled meanwhile: SIGKILL is on its way, and reaping takes no time
            await asyncio.shield(started.kill())
