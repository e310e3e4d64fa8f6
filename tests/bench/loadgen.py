"""Load from a process of its own.

Closed loop: so many callers, each asks again when it has its answer; what comes out is a rate. Open loop: calls at a
constant rate whatever the answers do, over all connections in turn; what comes out are latencies from each call's
intended start, so a stall is charged to every call that it delayed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import grpc
import uvloop

from tests.bench import programs
from tests.bench.arrivals import arrivals
from tests.bench.workloads import WORKLOADS, Workload

CONNECT_S = 30.0
IN_FLIGHT_MAX = 20_000
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)  # each channel has a connection of its own


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to do to whom."""

    target: str
    workload: str
    connections: int = 1
    callers: int = 64
    """Closed loop: calls under way at a time."""
    rate: float = 0.0
    """Open loop: calls a second; 0 is the closed loop."""
    seconds: float
    warm_s: float = 0.7
    """Before that, not counted."""


async def generate(load: Load) -> dict[str, Any]:
    """Run it in a process of its own. Keys: per_s (items), p50_ms, p95_ms, p99_ms, errors, and the workload's own."""
    patience_s = load.seconds + load.warm_s + CONNECT_S + 60
    return await programs.run("tests.bench.loadgen", json.dumps(dataclasses.asdict(load)), timeout_s=patience_s)


class Samples:
    """Latencies of the calls that count."""

    def __init__(self, from_ns: int) -> None:
        self._from_ns = from_ns
        self.latencies_ms: list[float] = []
        self.late_ms: list[float] = []
        """Open loop: how long after its intended start a call was made."""
        self.errors: list[str] = []

    async def measure(self, workload: Workload, number: int, intended_ns: int) -> None:
        """Make one call."""
        made_ns = time.monotonic_ns()
        try:
            await workload.call(number, intended_ns)
        except (grpc.aio.AioRpcError, ValueError) as error:
            self.errors.append(repr(error)[:300])
            return
        if intended_ns >= self._from_ns:
            self.latencies_ms.append((time.monotonic_ns() - intended_ns) / 1e6)
            self.late_ms.append((made_ns - intended_ns) / 1e6)


def percentiles(values: Sequence[float], prefix: str = "") -> dict[str, float]:
    """p50, p95, p99 and max by their names."""
    ordered = sorted(values) or [float("nan")]
    points = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
    last = len(ordered) - 1
    return {f"{prefix}{name}": round(ordered[min(last, int(len(ordered) * at))], 3) for name, at in points.items()}


async def _closed(load: Load, workload: Workload) -> dict[str, Any]:
    began = time.monotonic_ns()
    from_ns = began + int(load.warm_s * 1e9)
    until_ns = from_ns + int(load.seconds * 1e9)
    samples = Samples(from_ns)

    async def caller(number: int) -> None:
        while (now := time.monotonic_ns()) < until_ns and len(samples.errors) < 100:
            await samples.measure(workload, number, now)
            number += load.callers

    await asyncio.gather(*(caller(number) for number in range(load.callers)))
    took_s = (time.monotonic_ns() - from_ns) / 1e9
    return _summary(samples, workload, took_s)


async def _open(load: Load, workload: Workload) -> dict[str, Any]:
    samples = Samples(time.monotonic_ns() + int(load.warm_s * 1e9))
    under_way: set[asyncio.Task[None]] = set()
    number, overloaded = 0, False
    async for intended_ns in arrivals(load.rate, load.warm_s + load.seconds):
        task = asyncio.ensure_future(samples.measure(workload, number, intended_ns))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        number += 1
        if len(under_way) > IN_FLIGHT_MAX:
            overloaded = True
            break
    if under_way:
        await asyncio.wait(under_way, timeout=CONNECT_S)
    found = _summary(samples, workload, load.seconds) | percentiles(samples.late_ms, "late_")
    return found | {"overloaded": overloaded or bool(under_way)}


def _summary(samples: Samples, workload: Workload, seconds: float) -> dict[str, Any]:
    return {
        "calls": len(samples.latencies_ms),
        "per_s": len(samples.latencies_ms) * workload.items / seconds,
        **percentiles(samples.latencies_ms),
        "errors": len(samples.errors),
        "first_error": samples.errors[0] if samples.errors else None,
    }


async def _main(load: Load) -> None:
    channels = [grpc.aio.insecure_channel(load.target, options=OPTIONS) for _ in range(load.connections)]
    try:
        async with asyncio.timeout(CONNECT_S):
            await asyncio.gather(*(channel.channel_ready() for channel in channels))
        workload = WORKLOADS[load.workload](channels)
        found = await (_open if load.rate else _closed)(load, workload)
        print(json.dumps(found | await workload.finish()), flush=True)
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


if __name__ == "__main__":
    uvloop.run(_main(Load(**json.loads(sys.argv[1]))))
