"""Other job systems on this machine: how fast each accepts no-ops, and how fast its workers run them."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headworks_devkit.backends.valkey import valkey
from headworks_devkit.processes import ChildFailed, child

from tests.bench import line, programs
from tests.bench.drain import drain, told
from tests.bench.figures import Sheet
from tests.bench.peers.environments import PROGRAMS, Environment
from tests.bench.submit import submit

JOBS = 60_000
SUBMIT_S = 4.0
DRAIN_S = 5.0
START_S = 30.0
TICK_S = 0.02
PROCESSES = (1, 2)
"""Worker processes: the better one counts."""
ROUNDS = 2
"""Of our own runs; the best counts, as for the peers."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A job system in the setting that its documentation recommends for speed."""

    environment: Environment
    submits: tuple[str, ...]
    """The command that submits."""
    works: Callable[[int], list[tuple[str, ...]]]
    """The commands of so many worker processes."""
    setting: str
    env: tuple[tuple[str, str], ...] = ()


def _python(
    name: str,
    packages: Sequence[str],
    works: Callable[[Environment, int], list[tuple[str, ...]]],
    setting: str,
    **env: str,
) -> Peer:
    environment = Environment(name, tuple(packages))
    submits = (environment.tool("python"), f"{name}_peer.py")
    return Peer(environment, submits, lambda count: works(environment, count), setting, tuple(env.items()))


def _bullmq() -> Peer:
    environment = Environment("bullmq", ("bullmq@6.7.0", "ioredis@6.0.0"), "node")
    program = ("node", str(PROGRAMS / "bullmq_peer.mjs"))
    return Peer(
        environment,
        program,
        lambda count: [(*program, "work")] * count,
        "priorities, concurrency 200, addBulk of 500, finished jobs removed",
        (("BENCH_MODULES", str(environment.folder / "node_modules")),),
    )


_FAST = ("hiredis==3.5.0", "uvloop==0.23.0")
_QUIET_CELERY = ("--loglevel", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat")
PEERS: dict[str, Peer] = {
    "arq": _python(
        "arq",
        ("arq==0.28.0", *_FAST),
        lambda env, count: [(env.tool("arq"), "arq_peer.WorkerSettings")] * count,
        "max_jobs 100, poll_delay 10 ms, no results",
    ),
    "saq": _python(
        "saq",
        ("saq[hiredis]==0.26.4", "typing-extensions==4.15.0", *_FAST),  # which it imports and does not require
        lambda env, count: [(env.tool("saq"), "saq_peer.settings", "--workers", str(count), "--quiet")],
        "hiredis, uvloop, concurrency 100, no results",
    ),
    "taskiq": _python(
        "taskiq",
        ("taskiq==0.13.0", "taskiq-redis==1.2.4", *_FAST),
        lambda env, count: [
            (env.tool("taskiq"), "worker", "taskiq_peer:broker", "--workers", str(count), "--log-level", "WARNING")
        ],
        "RedisStreamBroker, xread_count 100, no results",
    ),
    "dramatiq": _python(
        "dramatiq",
        ("dramatiq[redis]==2.2.1", "hiredis==3.5.0"),
        lambda env, count: [(env.tool("dramatiq"), "dramatiq_peer", "--processes", str(count), "--threads", "8")],
        "8 threads a process, prefetch 128, no results",
        dramatiq_queue_prefetch="128",
    ),
    "streaq": _python(
        "streaq",
        ("streaq==7.2.0", "uvloop==0.23.0"),
        lambda env, count: [(env.tool("streaq"), "run", "streaq_peer:worker", "--workers", str(count))],
        "concurrency 100, prefetch 100, enqueue_many of 500, no results",
    ),
    "celery": _python(
        "celery",
        ("celery[redis]==5.7.0", "hiredis==3.5.0"),
        lambda env, count: [
            (env.tool("celery"), "-A", "celery_peer", "worker", "--concurrency", str(count), *_QUIET_CELERY)
        ],
        "prefork, prefetch 128, transient messages, no results, no gossip, mingle or heartbeat",
    ),
    "bullmq": _bullmq(),
}


async def measured(peer: Peer, quick: bool) -> dict[str, Any]:
    """Submit and drain with each number of processes, on a Valkey of its own each."""
    jobs, submit_s, drain_s = (500, 1.0, 2.0) if quick else (JOBS, SUBMIT_S, DRAIN_S)
    submits, drains = [], {}
    for processes in PROCESSES[:1] if quick else PROCESSES:
        async with valkey() as store, AsyncExitStack() as stack:
            counts = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headworks-bench-")))
            env = {"BENCH_REDIS_URL": store.url, "BENCH_JOBS": str(jobs), "BENCH_SECONDS": str(submit_s)}
            env |= {"BENCH_COUNTS": str(counts), "PYTHONDONTWRITEBYTECODE": "1", **dict(peer.env)}
            async with child("submits", peer.submits, env=env, cwd=PROGRAMS) as process:
                found = await programs.finish(process, submit_s + START_S)
            submits.append(float(found["per_s"]))
            drains[str(processes)] = await _drained(peer, processes, counts, env, int(found["jobs"]), drain_s)
    return {
        "submit_per_s": round(max(submits)),
        "drain_per_s": round(max(drains.values())),
        "submit_runs_per_s": [round(run) for run in submits],
        "drain_per_s_by_processes": {name: round(run) for name, run in drains.items()},
        "packages": list(peer.environment.packages),
        "setting": peer.setting,
    }


async def _drained(
    peer: Peer, processes: int, counts: Path, env: Mapping[str, str], jobs: int, limit_s: float
) -> float:
    """Jobs run a second: from the first one that was run to the last, or for `limit_s`."""
    async with AsyncExitStack() as stack:
        started = [
            await stack.enter_async_context(child(f"worker-{n}", argv, env=env, cwd=PROGRAMS, grace_s=3.0))
            for n, argv in enumerate(peer.works(processes))
        ]
        for process in started:  # with all that it has forked, which may outlive it and hold its output open
            stack.callback(_kill_group, process.pid)
        try:
            async with asyncio.timeout(START_S):
                while not (first := _count(counts)):
                    await asyncio.sleep(TICK_S / 4)
        except TimeoutError:
            raise started[0].failed(f"of {peer.environment.name} ran nothing in {START_S:g} s") from None
        begun = time.perf_counter()
        while True:
            ran, now = _count(counts), time.perf_counter()
            if ran >= jobs or now - begun > limit_s:
                return (ran - first) / (now - begun)
            await asyncio.sleep(TICK_S)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _count(counts: Path) -> int:
    return sum(int.from_bytes(path.read_bytes()[:8], "little") for path in counts.iterdir())


async def ours(quick: bool) -> dict[str, Any]:
    """Our submit and drain: one scheduler, one worker process; with events to the embedded broker and without."""
    jobs, rounds = (3_000, 1) if quick else (100_000, ROUNDS)
    submits: list[float] = []
    drains: dict[str, list[float]] = {"none": [], "embedded": []}
    more: dict[str, Any] = {}
    for kind, runs in drains.items():
        async with line.broker(kind) as kafka, line.line(kafka) as of:
            for _ in range(rounds):
                submits.append(await submit(of.scheduler, jobs))
                drained = await drain(of)
                runs.append(drained.per_s)
                more[f"last_drain_events_{kind}"] = told(drained)
    return {
        "submit_per_s": round(max(submits)),
        "drain_per_s": round(max(drains["embedded"])),
        "drain_without_events_per_s": round(max(drains["none"])),
        "submit_runs_per_s": [round(run) for run in submits],
        "drain_runs_per_s": {kind: [round(run) for run in runs] for kind, runs in drains.items()},
        "setting": "one scheduler, one worker process, 1,000 slots, SubmitJobs of 100, events to the embedded broker",
        **more,
    }


async def run(sheet: Sheet, quick: bool) -> list[str]:
    """jobs_*_vs_*; the names of the peers that could not be measured."""
    found: dict[str, dict[str, Any]] = {}
    for name, peer in PEERS.items():
        try:
            await peer.environment.install()
            found[name] = await measured(peer, quick)
        except (ChildFailed, FileNotFoundError, TimeoutError) as error:
            print(f"  {name} could not be measured: {error}", flush=True)
        else:
            told_briefly(name, found[name])
    mine = await ours(quick)
    told_briefly("headworks", mine)
    sheet.more["jobs"] = {"headworks": mine, **found}
    python = {name: each for name, each in found.items() if PEERS[name].environment.runtime == "python"}
    for what in ("drain", "submit"):
        best = max(python, key=lambda name: int(python[name][f"{what}_per_s"]))
        against = {"best_peer": best} | ({"bullmq": "bullmq"} if "bullmq" in found else {})
        for figure, name in against.items():
            theirs = found[name][f"{what}_per_s"]
            told_of = {"headworks_per_s": mine[f"{what}_per_s"], "peer": name, "peer_per_s": theirs}
            sheet.put(f"jobs_{what}_vs_{figure}", mine[f"{what}_per_s"] / theirs, **told_of, taken="best run of each")
    return [name for name in PEERS if name not in found]


def told_briefly(name: str, found: Mapping[str, Any]) -> None:
    """Progress."""
    print(f"  {name:12} submit {found['submit_per_s']:>8,}/s   drain {found['drain_per_s']:>8,}/s", flush=True)
