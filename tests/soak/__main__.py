"""Load for a while, and does memory stay level? `make soak ARGS="--minutes 10"`.

Real processes: a limiter, a scheduler, two workers, Valkey, the embedded broker. Jobs are submitted, limited, retried,
watched and cancelled, permits are consumed, connections come and go. After a warm-up of a quarter of the time, the
straight line through the rest of the samples must not climb faster than GROWTH_MB_PER_HOUR in any service.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headworks_client import Job, LimiterClient, SchedulerClient
from headworks_client.limiter import PermitRequest
from headworks_core.errors import ServiceError
from headworks_devkit.backends.kafka_embedded import embedded_kafka
from headworks_devkit.backends.valkey import valkey
from rich.console import Console
from rich.table import Table

from tests.soak.tasks import add, flaky, limited
from tests.support.memory import resident_mb, slope
from tests.support.suite import Suite, running_suite

GROWTH_MB_PER_HOUR = 30.0
SAMPLE_S = 2.0
BATCH = 100
RATE = 500  # jobs a second
RULES = """
namespaces:
  soak:
    rules:
      - {name: tasks, match: {what: "*"}, limit: 200, per: 1s}
      - {name: users, match: {user: "*"}, limit: 5, per: 10s}
"""
QUEUES = "queues: {default: {}}\n"
SETTINGS: dict[str, Any] = {"retention_s": 20, "finished_max": 20_000}


@dataclass
class Load:
    """What was done so far."""

    submitted: int = 0
    finished: int = 0
    decided: int = 0
    cancelled: int = 0
    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """(seconds, MB) by process."""


async def submitting(client: SchedulerClient, load: Load, chance: random.Random) -> None:
    """A steady stream of jobs of all kinds; some are cancelled."""
    while True:
        tick = asyncio.get_running_loop().time() + BATCH / RATE
        submissions = [
            chance.choice((add.submission(a=n, b=1), flaky.submission(seed=chance.random()), limited.submission()))
            for n in range(BATCH)
        ]
        jobs = [job for job in await client.submit_many(submissions) if isinstance(job, Job)]
        load.submitted += len(jobs)
        with suppress(ServiceError):  # it may have finished already
            await jobs[0].cancel()
            load.cancelled += 1
        await asyncio.sleep(max(0.0, tick - asyncio.get_running_loop().time()))


async def awaiting(api: str, load: Load) -> None:
    """Callers who come, wait for a few results, and go."""
    while True:
        async with SchedulerClient(api) as client:
            for _ in range(20):
                outcomes = await client.submit_many([add.submission(a=n, b=1) for n in range(10)])
                for job in outcomes:
                    if isinstance(job, Job):
                        await job.result(timeout_s=60)
                        load.finished += 1


async def consuming(limits: str, load: Load, chance: random.Random) -> None:
    """Many users, most of them new: buckets come and go."""
    while True:
        async with LimiterClient(limits) as client:
            for _ in range(100):
                batch = [PermitRequest("soak", {"user": f"u{chance.randrange(10**9)}"}) for _ in range(BATCH)]
                load.decided += len(await client.consume_batch(batch))
                await asyncio.sleep(0.05)


async def sampling(suite: Suite, load: Load, console: Console, until_s: float) -> None:
    """Look at every process now and then, and say how it goes."""
    begun, told = time.monotonic(), 0.0
    while (now := time.monotonic() - begun) < until_s:
        for name, pid in suite.pids.items():
            load.samples.setdefault(name, []).append((now, resident_mb(pid)))
        if now - told >= 10:
            told = now
            sizes = " ".join(f"{name} {points[-1][1]:.1f}" for name, points in load.samples.items())
            console.print(
                f"{now:6.0f} s  {load.submitted:,} jobs  {load.decided:,} decisions  MB: {sizes}", soft_wrap=True
            )
        await asyncio.sleep(SAMPLE_S)


async def soak(minutes: float, seed: int, console: Console) -> bool:
    """Run; whether every service stayed level."""
    load = Load()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            valkey() as store,
            embedded_kafka() as kafka,
            running_suite(store, kafka, Path(folder)) as suite,
        ):
            await suite.limiter(rules=RULES)
            await suite.scheduler(queues=QUEUES, **SETTINGS)
            for number in (1, 2):
                await suite.worker(f"worker-{number}", tasks="tests.soak.tasks")
            async with SchedulerClient(suite.api) as client:
                work = [
                    submitting(client, load, random.Random(seed)),
                    awaiting(suite.api, load),
                    consuming(suite.limits, load, random.Random(seed + 1)),
                ]
                await _while_sampling(work, sampling(suite, load, console, minutes * 60))
    return _verdict(load, minutes, console)


async def _while_sampling(work: list[Coroutine[None, None, None]], sampling: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.create_task(each) for each in work]
    watch = asyncio.create_task(sampling)
    try:
        await asyncio.wait([watch, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()  # work never ends by itself: this raises
    finally:
        for task in (*tasks, watch):
            task.cancel()
        await asyncio.wait([*tasks, watch])


def _verdict(load: Load, minutes: float, console: Console) -> bool:
    table = Table("process", "MB after warm-up", "MB at the end", "MB an hour", title=f"{minutes:g} minutes")
    level = True
    for name, points in load.samples.items():
        rest = [point for point in points if point[0] >= minutes * 60 / 4]
        climb = slope(rest) * 3600
        level = level and climb < GROWTH_MB_PER_HOUR
        table.add_row(name, f"{rest[0][1]:.1f}", f"{rest[-1][1]:.1f}", f"{climb:+.1f}")
    console.print(table)
    console.print(
        f"{load.submitted:,} jobs, {load.finished:,} awaited, {load.cancelled:,} cancelled, {load.decided:,} decisions"
    )
    console.print("level" if level else f"NOT level: more than {GROWTH_MB_PER_HOUR:g} MB an hour")
    return level


def main() -> None:
    """Exit code 1 when a service grows."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    sys.exit(0 if asyncio.run(soak(chosen.minutes, chosen.seed, Console())) else 1)


if __name__ == "__main__":
    main()
