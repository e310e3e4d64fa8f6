"""How fast one worker process runs jobs that wait, and what that costs each process."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from headworks_core.loops import running
from redis.asyncio import Redis

from tests.bench import line, programs
from tests.bench.figures import Sheet
from tests.bench.line import LIMIT_S, SLOTS, TICK_S, Line
from tests.bench.scale import Scale
from tests.bench.submit import submit

LANES = 1_000
NAMES = {"none": "off_", "embedded": "", "apache": "kafka_"}


@dataclass(frozen=True, slots=True)
class Drained:
    """What came of it."""

    per_s: float
    seconds: float
    jobs: int
    cpu_us_per_job: dict[str, float]
    events_waiting: int
    caught_up_s: float


Workers = Callable[[Line], AbstractAsyncContextManager[Sequence[int]]]


@asynccontextmanager
async def one_worker(of: Line) -> AsyncIterator[Sequence[int]]:
    """The workers of a drain: one process, one session."""
    async with line.worker(of) as pid:
        yield [pid]


class _Sample(NamedTuple):
    at: float
    left: int


async def _watch(redis: Redis, samples: list[_Sample]) -> None:
    """How many jobs are left, from now until there are none."""
    while not samples or samples[-1].left:
        samples.append(_Sample(time.perf_counter(), await line.unfinished(redis)))
        await asyncio.sleep(TICK_S)


def _beginning(samples: Sequence[_Sample], ready_at: float) -> _Sample:
    """Where counting begins: when all workers are up; when the first job has ended, if too few are left by then."""
    total = samples[0].left
    ready = [sample for sample in samples if sample.at >= ready_at and total / 2 < sample.left < total]
    running = [sample for sample in samples if 0 < sample.left < total]
    waiting = [sample for sample in samples if sample.left == total]
    return (ready or running or waiting[-1:])[0]


async def drain(of: Line, workers: Workers = one_worker) -> Drained:
    """Run all waiting jobs."""
    samples: list[_Sample] = []
    async with asyncio.timeout(LIMIT_S), running(_watch(of.redis, samples)), workers(of) as worker_pids:
        pids = {**of.pids, **{f"worker-{pid}": pid for pid in worker_pids}}
        ready_at, own = time.perf_counter(), _own_cpu_s()
        cpu, left = {name: programs.cpu_s(pid) for name, pid in pids.items()}, await line.unfinished(of.redis)
        while not samples or samples[-1].left:
            await asyncio.sleep(TICK_S / 4)
        spent = {name: programs.cpu_s(pid) - cpu[name] for name, pid in pids.items()}
        spent["broker_and_bench"] = _own_cpu_s() - own
        waiting = await of.redis.xlen(line.OUTBOX)
        behind = time.perf_counter()
        await line.relayed(of.redis)
        caught_up_s = time.perf_counter() - behind
    begun = _beginning(samples, ready_at)
    took = samples[-1].at - begun.at
    used: dict[str, float] = {}
    for name, seconds in spent.items():
        kind = name.partition("-")[0]
        if left:
            used[kind] = round(used.get(kind, 0.0) + seconds / left * 1e6, 1)
    return Drained(begun.left / took, took, begun.left, used, waiting, caught_up_s)


async def run(scale: Scale, sheet: Sheet) -> None:
    """The six drains: relay off, to the embedded broker, to Apache Kafka; 1 and 1,000 lanes."""
    for kind, part in NAMES.items():
        async with line.broker(kind) as kafka:
            for lanes in (1, LANES):
                async with line.line(kafka) as of:
                    await submit(of.scheduler, scale.drain_jobs, lanes=lanes)
                    drained = await drain(of)
                name = f"jobs_drain_{'1000_lanes_' if lanes > 1 else ''}{part}per_s"
                sheet.put(name, drained.per_s, lanes=lanes, **told(drained), events=kafka.name if kafka else "none")


def told(drained: Drained) -> dict[str, Any]:
    """The conditions of a drain."""
    return {
        "jobs": drained.jobs,
        "seconds": round(drained.seconds, 1),
        "slots": SLOTS,
        "cpu_us_per_job": drained.cpu_us_per_job,
        "events_waiting_after": drained.events_waiting,
        "events_caught_up_after_s": round(drained.caught_up_s, 2),
    }


def _own_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
