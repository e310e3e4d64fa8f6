"""`headworks demo`, on a part of the library: nothing is lost, every end is heard of, a trace spans the whole line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.integration.devkit.command import running
from tests.support.wait import wait_until

FILES = 120


async def test_the_demo_loses_nothing_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "demo.json"
    async with running("demo", "--files", str(FILES), "--out", str(out)) as demo:
        assert await demo.process.wait() == 0, demo.text
        assert demo.alive() == {}
    numbers = json.loads(out.read_text())
    merges = numbers["jobs_submitted"] - FILES
    assert merges == 2  # one of all files, and the last one
    assert (numbers["jobs_lost"], numbers["events_missing"]) == (0, 0)
    assert numbers["jobs_succeeded"] + numbers["jobs_dead"] == numbers["jobs_submitted"]
    assert numbers["events_unique"] >= numbers["jobs_submitted"]
    assert numbers["traces_complete"] >= 1
    assert numbers["permits_allowed"] >= FILES
    assert 0 < numbers["pickup_p50_ms"] <= numbers["pickup_p99_ms"]
    assert numbers["files"] == numbers["jobs_succeeded"] - merges
    broken = {Path(letter["path"]).name for letter in numbers["dead_letters"] if "/broken/" in letter["path"]}
    assert broken == {"unclosed.py", "undecodable.py", "ungrammatical.py"}
    assert {letter["category"] for letter in numbers["dead_letters"]} == {"PERMANENT"}
    assert "one job's trace, from the caller to the subscriber" in demo.text


async def test_a_worker_that_dies_ends_the_demo_with_its_name(tmp_path: Path) -> None:
    async with running("demo", "--out", str(tmp_path / "demo.json")) as demo:
        await demo.printed("... census of")
        workers = [pid for pid, line in demo.alive().items() if line.endswith("-m headworks_worker ")]
        os.kill(workers[0], signal.SIGKILL)
        assert await demo.process.wait() == 4
        assert demo.alive() == {}
    assert "error: worker-" in demo.text
    assert "has ended by itself" in demo.text


async def test_ctrl_c_in_the_middle_stops_everything(tmp_path: Path) -> None:
    async with running("demo", "--out", str(tmp_path / "demo.json")) as demo:
        await demo.printed("... census of")
        log = tmp_path / "demo-logs" / "worker-1.log"
        await wait_until(lambda: log.exists() and "census.permitted" in log.read_text(), 30, what="work")
        os.kill(demo.process.pid, signal.SIGINT)
        assert await demo.process.wait() == 130
        assert demo.alive() == {}
    assert not (tmp_path / "demo.json").exists()
