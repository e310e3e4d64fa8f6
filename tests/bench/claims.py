"""What a claim costs Valkey, and what a waiting job costs in memory. The scripts are called directly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

from headworks.scheduler.v1 import job_pb2
from headworks_core.cells import Meta, join
from headworks_core.names import uuid7
from headworks_core.store import redis_client
from headworks_devkit.backends.valkey import valkey
from headworks_scheduler.domain.jobs import NewJob, Queue
from headworks_scheduler.store.jobs import BATCH_MAX, JobStore, StoreOptions
from redis.asyncio import Redis

from tests.bench.figures import Sheet
from tests.bench.scale import Scale

CLAIMS = 25
CLAIM = 200  # jobs a claim, as the dispatcher asks for
SUBMITS = 4  # calls under way
LANES = 1_000
SPEC = job_pb2.JobSpec(task="bench.noop", payload=job_pb2.Payload(data=b"{}")).SerializeToString()


@asynccontextmanager
async def store(*, events: str = "none") -> AsyncIterator[tuple[Redis, JobStore, str]]:
    """An empty server and the scheduler's store on it, without a scheduler; and its url."""
    async with valkey() as server, redis_client(server.url, timeout_s=30) as redis:
        meta = await join(redis, Meta(cells=1, events=events))
        yield redis, JobStore(redis, meta, StoreOptions(replica="bench", delivery_us=600_000_000)), server.url


async def fill(jobs: JobStore, queue: str, count: int, lanes: int = 1) -> None:
    """Make `count` jobs ready, over so many lanes in turn."""
    settings = Queue(queue, max_size=10_000_000, max_size_per_tenant=10_000_000)

    def new(number: int) -> NewJob:
        lane = f"lane-{number % lanes}" if lanes > 1 else ""
        return NewJob(settings, "default", uuid7(), True, SPEC, "bench.noop", lane=lane, timeout_us=1_800_000_000)

    starts = iter(range(0, count, BATCH_MAX))

    async def submitter() -> None:
        for at in starts:
            await jobs.submit([new(at + index) for index in range(min(BATCH_MAX, count - at))])

    await asyncio.gather(*(submitter() for _ in range(SUBMITS)))


async def claim_us(redis: Redis, jobs: JobStore, queue: str) -> tuple[float, dict[str, float]]:
    """Valkey's time for a claim, the median of some; and the calls of each command inside of it."""
    times, calls = [], {}
    for _ in range(CLAIMS):
        await redis.config_resetstat()
        claimed = await jobs.claim(Queue(queue), [("bench", CLAIM)])
        if len(claimed) != CLAIM:
            raise RuntimeError(f"claimed {len(claimed)} of {CLAIM} jobs of {queue}")
        stats: Any = await redis.info("commandstats")
        script = stats.get("cmdstat_evalsha") or stats["cmdstat_eval"]
        times.append(float(script["usec"]))
        inside = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}
        calls = {n: c / CLAIM for n, c in inside.items() if n not in {"evalsha", "eval", "config|resetstat", "info"}}
    return median(times), {name: round(count, 3) for name, count in sorted(calls.items(), key=lambda x: -x[1])}


async def run(scale: Scale, sheet: Sheet) -> None:
    """claim_cost_ratio_1m and bytes_per_queued_job."""
    found: dict[str, dict[str, float]] = {"empty": {}, "full": {}}
    calls: dict[str, Any] = {}
    async with store() as (redis, jobs, _):
        for lanes in (1, LANES):
            queue = f"few-{lanes}"
            await fill(jobs, queue, CLAIMS * CLAIM, lanes)
            found["empty"][f"{lanes} lanes"], calls[f"{lanes} lanes"] = await claim_us(redis, jobs, queue)
        before = await _used(redis)
        memory = {}
        for lanes in (1, LANES):
            await fill(jobs, f"many-{lanes}", scale.queued // 2, lanes)
            memory[f"{lanes} lanes"] = ((await _used(redis)) - before) / (scale.queued // 2)
            before = await _used(redis)
        for lanes in (1, LANES):
            found["full"][f"{lanes} lanes"], _ = await claim_us(redis, jobs, f"many-{lanes}")
    ratios = {name: round(found["full"][name] / found["empty"][name], 3) for name in found["full"]}
    told = {"queued": f"{scale.queued // 2} jobs in one lane, {scale.queued // 2} over {LANES} lanes"}
    per_job = {
        f"us_per_job_{state}": {n: round(us / CLAIM, 2) for n, us in times.items()} for state, times in found.items()
    }
    sheet.put(
        "claim_cost_ratio_1m",
        max(ratios.values()),
        ratios=ratios,
        jobs_a_claim=CLAIM,
        **told,
        **per_job,
        commands_per_job=calls,
        taken=f"Valkey's commandstats, median of {CLAIMS} claims; the larger ratio",
    )
    average = sum(memory.values()) / len(memory)
    each = {name: round(size) for name, size in memory.items()}
    sheet.put("bytes_per_queued_job", average, **told, bytes_per_job=each, taken="used_memory after over before")


async def _used(redis: Redis) -> int:
    memory: Any = await redis.info("memory")
    return int(memory["used_memory"])


async def _show() -> None:
    """For people who look for where a claim's time goes."""
    async with store() as (redis, jobs, _):
        for lanes in (1, 10, 100, LANES):
            await fill(jobs, f"q{lanes}", 50_000, lanes)
            took, calls = await claim_us(redis, jobs, f"q{lanes}")
            print(json.dumps({"lanes": lanes, "us_per_job": round(took / CLAIM, 2), "commands_per_job": calls}))


if __name__ == "__main__":
    asyncio.run(_show())
