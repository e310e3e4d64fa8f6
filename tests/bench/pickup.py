"""How long a job waits for its handler, and how long callers wait for the scheduler, at a constant rate of arrivals."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.bench import line, programs
from tests.bench.drain import drain
from tests.bench.figures import Sheet
from tests.bench.line import Line
from tests.bench.loadgen import Load, generate, percentiles
from tests.bench.scale import Scale
from tests.bench.submit import submit

IDLE_RATE = 50.0
PROBE_RATE = 100.0


async def run(scale: Scale, sheet: Sheet) -> None:
    """pickup_* idle and at half capacity."""
    async with line.line(None) as of:
        capacity = await capacity_per_s(of, scale)
        async with line.worker(of):
            idle = await _probe(of, IDLE_RATE, scale)
            told = {"rate_per_s": IDLE_RATE, "samples": len(idle), "events": "none"}
            sheet.put("pickup_p50_ms", percentiles(idle)["p50_ms"], **told)
            sheet.put("pickup_p99_ms", percentiles(idle)["p99_ms"], **told, **percentiles(idle))
            target, rate = of.scheduler, capacity / 2
            load = Load(target=target, workload="submit_20", rate=rate / 20, seconds=scale.pickup_s + 4, warm_s=0.5)
            others = asyncio.create_task(generate(load))
            await asyncio.sleep(min(2.0, scale.pickup_s))  # the load has begun
            busy = await _probe(of, PROBE_RATE, scale)
            background = await others
        told = {
            "rate_per_s": PROBE_RATE,
            "background_jobs_per_s": round(rate),
            "background_got_per_s": round(background["per_s"]),
            "capacity_per_s": round(capacity),
            "capacity_means": "jobs taken in by calls of 20 and then drained, over the seconds of both",
            "events": "none",
        }
        sheet.put("pickup_half_p99_ms", percentiles(busy)["p99_ms"], **told, samples=len(busy), **percentiles(busy))


async def capacity_per_s(of: Line, scale: Scale) -> float:
    """Jobs per second that this machine takes in and runs."""
    await submit(of.scheduler, scale.ratio_jobs)
    drained = await drain(of)
    load = Load(target=of.scheduler, workload="submit_20", callers=8, seconds=scale.run_s, warm_s=scale.warm_s)
    submits = float((await generate(load))["per_s"])
    async with line.worker(of):  # run what that load has left
        await line.idle(of.redis)
    return 1 / (1 / submits + 1 / drained.per_s)


async def idle_pickups(of: Line, scale: Scale) -> list[float]:
    """Milliseconds from intended submit to handler, a worker running and nothing else going on."""
    return await _probe(of, IDLE_RATE, scale)


async def _probe(of: Line, rate: float, scale: Scale) -> list[float]:
    load = Load(target=of.scheduler, workload="pickup", rate=rate, seconds=scale.pickup_s, warm_s=0)
    found = await generate(load)
    if found["errors"]:
        raise RuntimeError(f"{found['errors']} submits failed: {found['first_error']}")
    waits: list[float] = found["pickups_ms"]
    return waits[int(min(rate, len(waits) // 4)) :]  # without the first second


async def queue_ops(scale: Scale, sheet: Sheet) -> None:
    """queue_op_p95_ms, held against an empty server."""
    found: dict[str, Any] = {}
    async with line.line(None) as of, programs.serving("tests.bench.echo") as (port, _):
        shape = {"workload": "queue_op", "connections": scale.connections, "warm_s": scale.warm_s}
        for name, target in (("echo", f"127.0.0.1:{port}"), ("", of.scheduler)):
            closed: Any = {**shape, "target": target, "callers": 64, "seconds": scale.run_s}
            capacity = (await generate(Load(**closed)))["per_s"]
            if name:
                found["echo_capacity_per_s"] = round(capacity)
                continue
            opened: Any = {**shape, "rate": capacity / 2, "seconds": scale.open_s}
            echo = await generate(Load(target=f"127.0.0.1:{port}", **opened))
            found |= {"echo_p95_ms_at_this_rate": echo["p95_ms"], "echo_p99_ms_at_this_rate": echo["p99_ms"]}
            measured = await generate(Load(target=target, **opened))
            found |= {"capacity_per_s": round(capacity), "rate_per_s": round(capacity / 2)}
    sheet.put("queue_op_p95_ms", measured["p95_ms"], connections=scale.connections, **found, **open_told(measured))


def open_told(found: dict[str, Any]) -> dict[str, Any]:
    """What an open-loop run says beside its figure."""
    names = ("p50_ms", "p95_ms", "p99_ms", "max_ms", "late_p99_ms", "calls", "errors", "first_error", "overloaded")
    return {name: found[name] for name in names}
