"""The limiter's two fronts under the same load: calls as bytes (tests.bench.flood), lest the caller be the slow one."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from headworks_devkit.backends import RedisBackend
from headworks_devkit.backends.valkey import valkey

from tests.bench import line, programs
from tests.bench.figures import Sheet
from tests.bench.flood import Flood
from tests.bench.limits import RULE
from tests.bench.scale import Scale

FRONTS = {"aio": "grpc", "envoy": "envoy"}
PROCESSES, CALLERS, CONNECTIONS = 2, 128, 4
SHARES = (25, 50, 75)
LOAD = "HTTP/2 frames made beforehand: a gRPC library as a caller costs as much as the server"


@dataclasses.dataclass(frozen=True)
class Server:
    """A limiter under load."""

    address: str
    pids: Sequence[int]

    def cpu_s(self) -> float:
        """Processor seconds so far, Envoy's among them."""
        return sum(programs.cpu_s(pid) for pid in self.pids)


@asynccontextmanager
async def server(store: RedisBackend, front: str) -> AsyncIterator[Server]:
    """A limiter behind this front."""
    async with line.limiter(store, front=FRONTS[front]) as (address, pid):
        told = await asyncio.to_thread(Path(f"/proc/{pid}/task/{pid}/children").read_text)
        yield Server(address, [pid, *map(int, told.split())])


async def flood(load: Flood, processes: int = 1) -> dict[str, Any]:
    """Run it in so many processes; rates are summed, latencies those of the slowest."""
    patience_s = load.seconds + load.warm_s + 90
    argv = json.dumps(dataclasses.asdict(load))
    each = [programs.run("tests.bench.flood", argv, timeout_s=patience_s) for _ in range(processes)]
    found = await asyncio.gather(*each)
    if failed := sum(run["errors"] for run in found):
        raise RuntimeError(f"{failed} calls to {load.target} failed")
    worst = max(found, key=lambda run: float(run["p99_ms"]))
    return worst | {"per_s": sum(run["per_s"] for run in found)}


async def throughput(scale: Scale, sheet: Sheet) -> None:
    """limiter_unary_envoy_vs_aio."""
    runs: dict[str, list[float]] = {front: [] for front in FRONTS}
    cpu_us: dict[str, list[float]] = {front: [] for front in FRONTS}
    async with valkey() as store, AsyncExitStack() as stack:
        servers = {front: await stack.enter_async_context(server(store, front)) for front in FRONTS}
        for _ in range(scale.rounds):
            for front, of in servers.items():
                load = Flood(of.address, CONNECTIONS, CALLERS, seconds=scale.run_s, warm_s=scale.warm_s)
                before = of.cpu_s()
                found = await flood(load, PROCESSES)
                runs[front].append(found["per_s"])
                cpu_us[front].append((of.cpu_s() - before) / (found["per_s"] * (scale.run_s + scale.warm_s)) * 1e6)
    best = {front: max(each) for front, each in runs.items()}
    sheet.put(
        "limiter_unary_envoy_vs_aio",
        best["envoy"] / best["aio"],
        callers=CALLERS * PROCESSES,
        connections=CONNECTIONS * PROCESSES,
        per_s={front: [round(run) for run in each] for front, each in runs.items()},
        server_cpu_us_per_call={front: round(min(each)) for front, each in cpu_us.items()},
        rule=RULE,
        load=f"{PROCESSES} processes; {LOAD}",
        taken="best run of each, runs alternate",
    )


async def latency(scale: Scale, sheet: Sheet) -> None:
    """limiter_check_<share>_<front>_p99_ms."""
    for front in FRONTS:
        async with valkey() as store, server(store, front) as of:
            callers = min(256, scale.connections)
            closed = Flood(of.address, scale.connections, callers, seconds=scale.run_s, warm_s=scale.warm_s)
            capacity = (await flood(closed))["per_s"]
            for share in SHARES:
                rate = capacity * share / 100
                opened = Flood(of.address, scale.connections, rate=rate, seconds=scale.open_s, warm_s=1.0)
                found = await flood(opened)
                sheet.put(
                    f"limiter_check_{share}_{front}_p99_ms",
                    found["p99_ms"],
                    connections=scale.connections,
                    rate_per_s=round(rate),
                    capacity_per_s=round(capacity),
                    p50_ms=found["p50_ms"],
                    p95_ms=found["p95_ms"],
                    samples=found["calls"],
                    rule=RULE,
                    load=LOAD,
                )
