"""The README's examples, run as a newcomer would run them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from headworks_client import SchedulerClient
from headworks_devkit.processes import Child, child

from tests.support.suite import ROOT, Suite
from tests.support.wait import wait_until

EXAMPLES = ROOT / "examples"


def rewritten(name: str, folder: Path, **places: str) -> Path:
    """A copy of an example that talks to this test's services instead of the usual ports."""
    text = (EXAMPLES / name).read_text()
    for usual, here in places.items():
        address = {"scheduler": "127.0.0.1:50052", "kafka": "127.0.0.1:9092"}[usual]
        assert address in text
        text = text.replace(address, here)
    path = folder / name
    path.write_text(text)
    return path


async def ended(process: Child) -> str:
    """What a process printed, once it has ended well."""
    async with asyncio.timeout(30):
        code = await process.wait()
    output = "\n".join(process.tail)
    assert code == 0, output
    return output


async def test_the_task_the_caller_and_the_subscriber_of_the_readme_work(suite: Suite, tmp_path: Path) -> None:
    assert suite.kafka is not None
    suite.env["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES), str(ROOT)])
    await suite.scheduler()
    await suite.worker(tasks="hello_task")
    env = {"PYTHONPATH": str(EXAMPLES), "PYTHONUNBUFFERED": "1"}
    subscriber = rewritten("hello_subscriber.py", tmp_path, kafka=suite.kafka.bootstrap)
    caller = rewritten("hello_caller.py", tmp_path, scheduler=suite.api)
    async with child("subscriber", [sys.executable, str(subscriber)], env=env) as hearing:
        async with child("caller", [sys.executable, str(caller)], env=env) as calling:
            output = await ended(calling)
        name = output.split()[0]
        blocking = rewritten("hello_blocking.py", tmp_path, scheduler=suite.api)
        async with child("blocking caller", [sys.executable, str(blocking)], env=env) as calling:
            assert "['hello, world', 'hello, world']" in await ended(calling)

        async def heard() -> bool:
            return any("succeeded hello.greet" in line and name in line for line in hearing.tail)

        await wait_until(heard, 30)

    assert "['hello, world', 'hello, world', 'hello, world']" in output


async def test_a_permanent_error_is_a_dead_letter_at_once(suite: Suite) -> None:
    suite.env["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES), str(ROOT)])
    await suite.scheduler()
    await suite.worker(tasks="hello_task")
    sys.path.insert(0, str(EXAMPLES))
    try:
        from hello_task import greet  # noqa: PLC0415 - as the caller has it, beside itself
    finally:
        sys.path.remove(str(EXAMPLES))
    async with SchedulerClient(suite.api):
        job = await greet.submit(name="\n")
        async for snapshot in job.watch():
            last = snapshot

    assert last.failure is not None
    assert (last.state, last.failure.category, last.attempts) == ("DEAD", "PERMANENT", 1)
