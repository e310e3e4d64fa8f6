"""Processes of the benchmarks' own: load, echo, delay. Their last line of output is what they found out, in JSON."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headworks_devkit.processes import Child, child

ROOT = Path(__file__).parents[2]
START_S = 20.0
UP = re.compile(r"ready|\d+")


@asynccontextmanager
async def serving(module: str, *arguments: object) -> AsyncIterator[tuple[str, Child]]:
    """`python -m module` while the block runs; yields the line that says that it is up: `ready`, or a port."""
    up: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_line(line: str) -> None:
        if not up.done() and UP.fullmatch(line):
            up.set_result(line)

    argv = [sys.executable, "-m", module, *map(str, arguments)]
    async with child(module, argv, env=import_path(), cwd=ROOT, on_line=on_line) as process:
        ended = asyncio.ensure_future(process.wait())
        ended.add_done_callback(lambda _: up.cancel())
        try:
            async with asyncio.timeout(START_S):
                said = await up
        except (TimeoutError, asyncio.CancelledError) as error:
            if process.running and not isinstance(error, TimeoutError):
                raise
            raise process.failed("did not start") from error
        finally:
            ended.cancel()
        yield said, process


async def finish(process: Child, timeout_s: float) -> dict[str, Any]:
    """Wait for a program to end; what its last line says."""
    async with asyncio.timeout(timeout_s):
        code = await process.wait()
    if code or not process.tail:
        raise process.failed(f"ended with {code}")
    found: dict[str, Any] = json.loads(process.tail[-1])
    return found


async def run(module: str, *arguments: object, timeout_s: float = 120.0) -> dict[str, Any]:
    """Run `python -m module` to its end; what its last line says."""
    async with started(module, *arguments) as process:
        return await finish(process, timeout_s)


@asynccontextmanager
async def started(module: str, *arguments: object) -> AsyncIterator[Child]:
    """`python -m module`, for as long as the block runs at most."""
    argv = [sys.executable, "-m", module, *map(str, arguments)]
    async with child(module, argv, env=import_path(), cwd=ROOT) as process:
        yield process


def import_path() -> dict[str, str]:
    """The variable that makes a process find the benchmarks' modules."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))}


def cpu_s(pid: int) -> float:
    """The processor time that a process has used; 0 where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
