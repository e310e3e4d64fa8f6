"""How fast jobs go in, through and out: one scheduler, one worker process, events relayed to the embedded broker.

Run alone: `python -m tests.bench.jobs`.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from headworks_client import SchedulerClient
from headworks_core.store import redis_client
from headworks_devkit import services
from headworks_devkit.backends.kafka_embedded import embedded_kafka
from headworks_devkit.backends.valkey import valkey
from headworks_devkit.ports import free_ports
from redis.asyncio import Redis

from tests.bench.tasks import started

ROOT = Path(__file__).parents[2]
JOBS = 250_000
BATCH = 100
CALLS = 8  # batches under way at a time
SLOTS = 1_000
PICKUPS = 400
TICK_S = 0.02
LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Line:
    """The running services."""

    redis: Redis
    scheduler: str
    worker_port: str
    pids: dict[str, int]


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    """Valkey, the embedded broker and a scheduler; no worker yet."""
    async with valkey() as store, embedded_kafka() as kafka, redis_client(store.url, timeout_s=10) as redis:
        api, worker = (f"127.0.0.1:{port}" for port in free_ports(2))
        service = services.scheduler("scheduler", address=api, worker_address=worker, redis=store, kafka=kafka)
        async with services.running(service) as process:
            yield Line(redis, api, worker, {"valkey": store.pid or 0, "scheduler": process.pid})


@asynccontextmanager
async def worker(of: Line) -> AsyncIterator[int]:
    """One worker process; yields its pid."""
    health = f"127.0.0.1:{free_ports(1)[0]}"
    service = services.worker(
        "worker",
        tasks="tests.bench.tasks",
        scheduler=of.worker_port,
        api=of.scheduler,
        limiter="127.0.0.1:1",
        health=health,
        slots=SLOTS,
    )
    async with services.running(service, env={"PYTHONPATH": str(ROOT)}) as process:
        yield process.pid


async def submit(of: Line) -> float:
    """Submit JOBS in batches; jobs per second."""
    job = pb.JobSubmission(spec=job_pb2.JobSpec(task="bench.noop", payload=job_pb2.Payload(data=b"{}")))
    request = pb.SubmitJobsRequest(jobs=[job] * BATCH)
    left = JOBS // BATCH

    async def caller(stub: Any) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            response = await stub.SubmitJobs(request)
            assert len(response.results) == BATCH
            assert all(result.name for result in response.results)

    async with grpc.aio.insecure_channel(of.scheduler) as channel:
        stub = SchedulerServiceStub(channel)
        begun = time.perf_counter()
        await asyncio.gather(*(caller(stub) for _ in range(CALLS)))
        return JOBS / (time.perf_counter() - begun)


async def drain(of: Line) -> dict[str, object]:
    """Let one worker run all jobs; jobs per second from the first seen finished to the last, and what it cost."""
    async with asyncio.timeout(LIMIT_S), worker(of) as worker_pid:
        pids = {**of.pids, "worker": worker_pid}
        while (first := await _finished(of.redis)) == 0:
            await asyncio.sleep(TICK_S)
        begun, cpu, own = time.perf_counter(), {name: _cpu_s(pid) for name, pid in pids.items()}, _own_cpu_s()
        while await _finished(of.redis) < JOBS:
            await asyncio.sleep(TICK_S)
        took = time.perf_counter() - begun
        count = JOBS - first
        spent = {name: _cpu_s(pid) - cpu[name] for name, pid in pids.items()}
        spent["broker_and_bench"] = _own_cpu_s() - own
        used = {f"{name}_cpu_us_per_job": round(seconds / count * 1e6, 1) for name, seconds in spent.items()}
        lag = await of.redis.xlen("{hw:0}:outbox")
        behind = time.perf_counter()
        while await _unsent(of.redis):
            await asyncio.sleep(TICK_S)
        return {
            "jobs_drain_per_s": round(count / took),
            "drain_seconds": round(took, 1),
            "drain_jobs": count,
            **used,
            "events_waiting_after_drain": lag,
            "events_caught_up_after_s": round(time.perf_counter() - behind, 2),
        }


async def pickup(of: Line) -> dict[str, object]:
    """From just before the submit to the handler's first line, one job at a time on an idle system; milliseconds."""
    async with asyncio.timeout(LIMIT_S), worker(of), SchedulerClient(of.scheduler):
        waits = []
        for _ in range(PICKUPS):
            before = time.monotonic_ns()
            job = await started.submit()
            waits.append(((await job.result()) - before) / 1e6)
        waits.sort()
        return {
            "pickup_p50_ms": round(waits[len(waits) // 2], 2),
            "pickup_p99_ms": round(waits[int(len(waits) * 0.99)], 2),
            "pickup_samples": PICKUPS,
        }


async def run() -> dict[str, object]:
    """All figures."""
    async with line() as of:
        figures: dict[str, object] = {"jobs_submit_batch_per_s": round(await submit(of))}
        figures |= await drain(of)
        figures |= await pickup(of)
        return figures


async def _finished(redis: Redis) -> int:
    count: int = await redis.zcard("{hw:0}:finished")
    return count


async def _unsent(redis: Redis) -> bool:
    last: Any = await redis.xrevrange("{hw:0}:outbox", count=1)
    cursor = await redis.hget("{hw:0}:relay", "cursor")
    return bool(last) and (cursor is None or cursor != last[0][0])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _own_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
