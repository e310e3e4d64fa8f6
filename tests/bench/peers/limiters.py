"""Limiter libraries on the same Redis: decisions a second of one process."""

from __future__ import annotations

from typing import Any

from headworks_devkit.backends.valkey import valkey
from headworks_devkit.processes import child

from tests.bench import line, programs
from tests.bench.figures import Sheet
from tests.bench.limits import BATCHES, CALLERS, best_of
from tests.bench.peers.environments import PROGRAMS, Environment
from tests.bench.scale import FULL, QUICK

LIBRARIES = {
    "limits": (
        Environment("limits", ("limits[async-redis,redis]==5.8.0", "redis==7.4.1", "hiredis==3.5.0", "uvloop==0.23.0")),
        ("coredis", "redispy", "sync"),
    ),
    "throttled": (
        Environment("throttled", ("throttled-py[redis]==3.5.0", "hiredis==3.5.0", "uvloop==0.23.0")),
        ("async", "sync"),
    ),
}
RUNS = 2


async def run(sheet: Sheet, quick: bool) -> list[str]:
    """limiter_*_vs_best_library; nothing, for a library that fails ends it."""
    libraries: dict[str, dict[str, Any]] = {}
    for name, (environment, ways) in LIBRARIES.items():
        await environment.install()
        by_way = {way: [await _library(environment, way, quick) for _ in range(1 if quick else RUNS)] for way in ways}
        best = max(by_way, key=lambda way: max(by_way[way]))
        rounded = {way: [round(run) for run in runs] for way, runs in by_way.items()}
        libraries[name] = {"per_s": round(max(by_way[best])), "way": best, "runs_per_s": rounded}
        libraries[name]["packages"] = list(environment.packages)
        print(f"  {name:12} {libraries[name]['per_s']:>8,} decisions/s ({best})", flush=True)
    scale = QUICK if quick else FULL
    mine: dict[str, Any] = {}
    async with valkey() as store, line.limiter(store) as (address, pid):
        for kind, workload, callers in (("unary", "consume", CALLERS), ("stream", "consume_stream", BATCHES)):
            mine[kind], runs, _ = await best_of(address, pid, workload, scale, callers)
            print(f"  headworks    {round(mine[kind]):>8,} decisions/s ({kind})", flush=True)
            mine[f"{kind}_runs_per_s"] = runs
    sheet.more["limiters"] = {"headworks": mine, **libraries}
    best = max(libraries, key=lambda name: int(libraries[name]["per_s"]))
    for kind in ("unary", "stream"):
        told = {"headworks_per_s": round(mine[kind]), "library": best, "library_per_s": libraries[best]["per_s"]}
        sheet.put(
            f"limiter_{kind}_vs_best_library", mine[kind] / libraries[best]["per_s"], **told, taken="best run of each"
        )
    return []


async def _library(environment: Environment, way: str, quick: bool) -> float:
    seconds = 0.5 if quick else 3.0
    async with valkey() as store:
        env = {"BENCH_REDIS_URL": store.url, "BENCH_SECONDS": str(seconds), "PYTHONDONTWRITEBYTECODE": "1"}
        argv = (environment.tool("python"), f"{environment.name}_peer.py", way)
        async with child(environment.name, argv, env=env, cwd=PROGRAMS) as process:
            found = await programs.finish(process, seconds + 30)
    return float(found["per_s"])
