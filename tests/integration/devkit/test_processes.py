"""Child processes: started, signalled, reaped, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from headworks_devkit.processes import child

from tests.support.wait import wait_until

ROOT = Path(__file__).parents[3]
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
POLITE = "import time; print('up', flush=True); time.sleep(60)"


def python(code: str) -> list[str]:
    """The command that runs `code`."""
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    """Whether there is such a process and it is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_leaving_the_block_ends_the_process() -> None:
    async with child("polite", python(POLITE)) as process:
        await wait_until(lambda: "up" in process.tail)
        pid = process.pid
    assert not alive(pid)
    assert process.process.returncode == -signal.SIGTERM


async def test_a_process_that_ignores_sigterm_is_killed_after_its_grace() -> None:
    async with child("stubborn", python(STUBBORN), grace_s=0.2) as process:
        await wait_until(lambda: "up" in process.tail)
    assert process.process.returncode == -signal.SIGKILL


async def test_a_stopped_process_can_still_be_ended_politely() -> None:
    async with child("polite", python(POLITE)) as process:
        await wait_until(lambda: "up" in process.tail)
        process.pause()
        await wait_until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    assert process.process.returncode == -signal.SIGTERM


async def test_cancelling_while_a_stubborn_process_is_stopped_kills_it_at_once() -> None:
    started = asyncio.Event()
    seen: list[int] = []

    async def body() -> None:
        async with child("stubborn", python(STUBBORN), grace_s=60) as process:
            await wait_until(lambda: "up" in process.tail)
            seen.append(process.pid)
            started.set()

    task = asyncio.create_task(body())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(seen[0])


async def test_every_line_is_heard_and_the_last_ones_are_in_the_error() -> None:
    lines: list[str] = []
    code = "import sys; [print('line', n) for n in range(100)]; print('oops', file=sys.stderr); sys.exit(3)"
    async with child("talker", python(code), on_line=lines.append) as process:
        assert await process.wait() == 3
    assert len(lines) == 101
    assert "oops" in str(process.failed("ended"))
    assert "line 10\n" not in str(process.failed("ended"))


async def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = f"""
import asyncio, sys
from headworks_devkit.processes import child
async def main():
    async with child("grandchild", [sys.executable, "-c", {STUBBORN!r}]) as process:
        while "up" not in process.tail:
            await asyncio.sleep(0.01)
        print("pid", process.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    async with child("parent", python(parent)) as process:
        await wait_until(lambda: any(line.startswith("pid") for line in process.tail))
        grandchild = int(process.tail[-1].split()[1])
        assert alive(grandchild)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        await wait_until(lambda: not alive(grandchild), what="the kernel to kill the grandchild")
