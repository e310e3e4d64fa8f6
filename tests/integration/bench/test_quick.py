"""The benchmarks run, at tiny sizes, and write what they measured; the numbers mean nothing here."""

from __future__ import annotations

import ast
import asyncio
import json
import sys
from pathlib import Path

import pytest
from headworks_devkit.processes import child

from tests.bench import report
from tests.bench.__main__ import GROUPS, chosen
from tests.bench.figures import OWN, PEERS, Sheet
from tests.bench.peers.environments import PROGRAMS
from tests.bench.peers.jobs import PEERS as JOB_SYSTEMS
from tests.bench.peers.limiters import LIBRARIES
from tests.bench.programs import ROOT, import_path

FIGURES = ("jobs_submit_batch_per_s", "sessions_ratio_20", "queue_op_p95_ms", "limiter_batch_per_s")


@pytest.mark.timeout(180)
async def test_figures_are_measured_and_written_with_their_conditions(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    only = [part for name in FIGURES for part in ("--only", name)]
    argv = [sys.executable, "-m", "tests.bench", "--quick", "--out", str(out), *only]
    async with child("bench", argv, env=import_path(), cwd=ROOT) as process:
        code = await process.wait()
        said = "\n".join(process.tail)

    assert code == 0, said
    written = json.loads(await asyncio.to_thread(out.read_text))
    assert set(FIGURES) <= set(written["figures"])
    assert written["run"]["quick"] is True
    for name, figure in written["figures"].items():
        assert figure["value"] > 0, name
        assert figure["unit"] == OWN[name].unit
        assert figure["conditions"], name
        assert name in said


def test_the_report_has_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = {"date": "2026-01-05", "commit": "abc", "cpus": 2, "machine": "m", "python": "3.11", "spin_ms": [250, 260]}
    Sheet(OWN, tmp_path / "own.json", more={"run": run}).put("jobs_drain_per_s", 19_000)
    found = {"submit_per_s": 5_000, "drain_per_s": 1_000, "packages": ["arq==1"], "setting": "fast"}
    limiters = {"headworks": {"unary": 5e3, "stream": 1e5}, "limits": {"per_s": 9, "way": "sync", "packages": ["l==1"]}}
    sheet = Sheet(PEERS, tmp_path / "peers.json", more={"run": run, "jobs": {"arq": found}, "limiters": limiters})
    sheet.put("jobs_drain_vs_best_peer", 11.5)

    report.main([tmp_path / "own.json", tmp_path / "peers.json"])

    said = capsys.readouterr().out
    assert "| `jobs_drain_per_s` | 19,000 jobs/s | >= 20,000: **missed** |" in said
    assert "| arq | 5,000 | 1,000 | arq==1 | fast |" in said
    assert "| headworks, stream | 100,000 |" in said
    assert "| `jobs_drain_vs_best_peer` | 11.5 | >= 10: met |" in said


def test_every_figure_belongs_to_one_group() -> None:
    assert sorted(name for _, names in GROUPS.values() for name in names) == sorted(OWN)
    with pytest.raises(KeyError, match="no figure or group jobs_per_s; groups: drain, "):
        chosen(["jobs_per_s"])


def test_a_figure_of_an_earlier_run_stays_with_the_conditions_of_that_run(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    Sheet(OWN, out, more={"run": {"commit": "first"}}).put("pickup_p50_ms", 2.0, samples=10)
    Sheet(OWN, out, more={"run": {"commit": "second"}}).put("pickup_p99_ms", 12.0, samples=10)

    figures = json.loads(out.read_text())["figures"]
    assert {name: (figure["run"]["commit"], figure["met"]) for name, figure in figures.items()} == {
        "pickup_p50_ms": ("first", True),
        "pickup_p99_ms": ("second", False),
    }


def test_every_peer_is_pinned_and_has_its_program() -> None:
    environments = [peer.environment for peer in JOB_SYSTEMS.values()] + [each for each, _ in LIBRARIES.values()]
    for environment in environments:
        assert all("==" in package or "@" in package for package in environment.packages), environment.name
        program = PROGRAMS / f"{environment.name}_peer.{'py' if environment.runtime == 'python' else 'mjs'}"
        text = program.read_text()
        if environment.runtime == "python":
            ast.parse(text)
    assert set(PEERS) >= {"jobs_drain_vs_best_peer", "jobs_drain_vs_bullmq"}
