"""Child processes that never outlive us: started, watched, stopped and reaped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from headworks_core import launch

LAUNCHER = Path(launch.__file__)
TAIL_LINES = 40
LINE_BYTES = 1 << 20
PUMP_GRACE_S = 1.0

OnLine = Callable[[str], None]


class ChildFailed(RuntimeError):
    """A process ended or stayed silent where it was needed; the message has the end of its log."""

    def __init__(self, brief: str, log: str = "") -> None:
        super().__init__(brief + (f"; the end of its log:\n{log}" if log else ""))
        self.brief = brief
        """What happened, in one line."""
        self.log = log


@dataclass
class Child:
    """One running process. Signals to one that has already ended do nothing."""

    name: str
    process: asyncio.subprocess.Process
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    """The last lines it wrote."""
    stopping: bool = False
    """We asked it to end."""
    _paused: bool = False
    _pump: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.returncode is None

    async def wait(self) -> int:
        """Its exit code (negative: the signal that ended it), once it has ended and its last lines are in `tail`."""
        code = await self.process.wait()
        if self._pump is not None:  # bounded: a grandchild may hold the pipe open
            await asyncio.wait([self._pump], timeout=PUMP_GRACE_S)
        return code

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
        self.stopping = True
        self._signal(signal.SIGKILL)
        return await self.wait()

    async def stop(self, grace_s: float = 10.0) -> int:
        """SIGTERM, and SIGKILL if it is still there after `grace_s` seconds, or at once when we are cancelled."""
        self.stopping = True
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

    def failed(self, why: str) -> ChildFailed:
        """The error that says `why`, with the end of the log."""
        return ChildFailed(f"{self.name} {why}", "\n".join(self.tail))

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
    on_line: OnLine | None = None,
    grace_s: float = 10.0,
) -> AsyncIterator[Child]:
    """Run a program while the block does; leaving it stops and reaps the process.

    `env` is added to our own environment; `on_line` hears each line of output and error output. The process has a
    session of its own, so a terminal's Ctrl-C reaches only us; on Linux the kernel kills it should we die first. Start
    it from a thread that lives on: the kernel takes that thread for the parent.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *argv),
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        limit=LINE_BYTES,
    )
    started = Child(name, process)
    pump = started._pump = asyncio.create_task(_read(started, on_line), name=f"{name} log")
    try:
        yield started
    finally:
        try:
            await _end(started, grace_s)
        finally:
            pump.cancel()
            with suppress(asyncio.CancelledError):
                await pump


async def _end(started: Child, grace_s: float) -> None:
    if not started.running:
        return
    try:
        await started.stop(grace_s)
    finally:
        if started.running:  # cancelled meanwhile: SIGKILL is on its way, and reaping takes no time
            await asyncio.shield(started.kill())


async def _read(started: Child, on_line: OnLine | None) -> None:
    stream = started.process.stdout
    assert stream is not None
    while True:
        try:
            raw = await stream.readline()
        except ValueError:  # a line longer than LINE_BYTES: the stream has dropped it
            continue
        if not raw:
            return
        line = raw.decode(errors="replace").rstrip("\n")
        started.tail.append(line)
        if on_line is not None:
            on_line(line)
