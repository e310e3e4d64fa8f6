"""The `headworks` command as a process, and the processes that it leads to."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.processes import Child, child
from tests.support.suite import ROOT
from tests.support.wait import wait_until

HEADWORKS = str(Path(sys.executable).with_name("headworks"))
MARK = "HEADWORKS_TEST_MARK"
RULES = Path(str(resources.files("headworks_devkit") / "sample_rules.yaml"))
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[Any]:
        """Its output, line by line, as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


async def headworks(*arguments: str, stdin: str = "") -> Done:
    """Run the command to its end."""
    process = await asyncio.create_subprocess_exec(
        HEADWORKS,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Done(process.returncode or 0, out.decode(), err.decode())


class Cli:
    """The command with the addresses of the running services."""

    def __init__(self, scheduler: str, limiter: str, kafka: str) -> None:
        self.scheduler, self.limiter = scheduler, limiter
        self.options = ("--scheduler", scheduler, "--limiter", limiter, "--kafka", kafka)

    async def __call__(self, *arguments: str, stdin: str = "") -> Done:
        """Run it."""
        return await headworks(*self.options, *arguments, stdin=stdin)


class Running:
    """A command that stays, with everything it has printed."""

    def __init__(self, process: Child, lines: list[str], mark: str) -> None:
        self.process = process
        self.lines = lines
        self._mark = f"{MARK}={mark}".encode()

    @property
    def text(self) -> str:
        """What it printed so far."""
        return "\n".join(self.lines)

    async def printed(self, text: str) -> None:
        """Wait until it has printed this."""
        await wait_until(lambda: text in self.text or not self.process.running, TIMEOUT_S, what=repr(text))
        assert text in self.text, self.text

    def alive(self) -> dict[int, str]:
        """It and all that it started, whoever their parent is by now: process ids and command lines."""
        found = {int(pid.name): self._command_line(pid) for pid in Path("/proc").iterdir() if pid.name.isdigit()}
        return {pid: line for pid, line in found.items() if line}

    def _command_line(self, pid: Path) -> str:
        """Empty for a process that is not ours."""
        try:
            if self._mark not in (pid / "environ").read_bytes().split(b"\0"):
                return ""
            return (pid / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has just ended
            return ""


@asynccontextmanager
async def running(*arguments: str, **env: str) -> AsyncIterator[Running]:
    """Run the command while the block does."""
    lines: list[str] = []
    mark = str(uuid.uuid4())
    embedded = {"HEADWORKS_REDIS_URL": "", "HEADWORKS_KAFKA_BOOTSTRAP": ""}  # whatever this shell names
    command = [HEADWORKS, *arguments]
    with TemporaryDirectory() as folder:  # what a killed command cannot tidy up goes with it
        settings = {MARK: mark, "TMPDIR": folder, "COLUMNS": "200", "NO_COLOR": "1", **embedded, **env}
        async with child("headworks", command, env=settings, cwd=ROOT, on_line=lines.append, grace_s=20) as process:
            yield Running(process, lines, mark)
