"""How fast events reach Apache Kafka, and how old they are when a subscriber has them."""

from __future__ import annotations

import asyncio
import time

from headworks_core.names import parse_job
from headworks_devkit import services
from headworks_devkit.backends import KafkaBackend, RedisBackend
from headworks_devkit.ports import free_ports
from headworks_scheduler.domain.jobs import Completion, Queue
from headworks_scheduler.store.jobs import BATCH_MAX, JobStore
from redis.asyncio import Redis

from tests.bench import claims, line, programs
from tests.bench.figures import Sheet
from tests.bench.loadgen import Load, generate
from tests.bench.scale import Scale

RATE = 500.0
PARTITIONS_WARM = 1_000


async def run(scale: Scale, sheet: Sheet) -> None:
    """events_relay_per_s and event_latency_p99_ms, on Apache Kafka."""
    async with line.broker("apache") as kafka:
        assert kafka is not None
        await relay(kafka, scale, sheet)
        await latency(kafka, scale, sheet)


async def relay(kafka: KafkaBackend, scale: Scale, sheet: Sheet) -> None:
    """Fill an outbox by the scripts themselves, then start a scheduler on it."""
    async with claims.store(events="kafka") as (redis, jobs, url):
        await claims.fill(jobs, "default", scale.relay_events)
        await _complete_all(jobs)
        backlog = await redis.xlen(line.OUTBOX)
        api, worker = (f"127.0.0.1:{port}" for port in free_ports(2))
        service = services.scheduler(
            "scheduler",
            address=api,
            worker_address=worker,
            redis=RedisBackend(url, "valkey"),
            kafka=kafka,
            kafka_topic="headworks.bench-relay.v1",
            outbox_max=10_000_000,
        )
        async with services.running(service) as process, asyncio.timeout(line.LIMIT_S):
            while (first := await _acknowledged(redis, backlog)) == 0:
                await asyncio.sleep(line.TICK_S)
            begun, cpu = time.perf_counter(), programs.cpu_s(process.pid)
            await line.relayed(redis)
            took, spent = time.perf_counter() - begun, programs.cpu_s(process.pid) - cpu
    sheet.put(
        "events_relay_per_s",
        (backlog - first) / took,
        events=backlog - first,
        seconds=round(took, 2),
        scheduler_cpu_us_per_event=round(spent / (backlog - first) * 1e6, 1),
        broker=kafka.name,
        load="none but the relay",
    )


async def _complete_all(jobs: JobStore) -> None:
    while claimed := await jobs.claim(Queue("default"), [("bench", BATCH_MAX)]):
        ends = [Completion(parse_job(job.name).ref, job.lease_id, b"null", "", "") for job in claimed]
        await jobs.complete(0, ends)


async def _acknowledged(redis: Redis, backlog: int) -> int:
    """Events that the relay has sent and trimmed."""
    return backlog - int(await redis.xlen(line.OUTBOX))


async def latency(kafka: KafkaBackend, scale: Scale, sheet: Sheet) -> None:
    """Jobs at a constant rate, a subscriber in a process of its own."""
    count = round(RATE * scale.open_s)
    async with line.line(kafka) as of, line.worker(of):
        await _create_topic(of)
        subscribing = programs.serving("tests.bench.subscriber", kafka.bootstrap, of.topic, count)
        async with subscribing as (_, subscriber):
            load = Load(target=of.scheduler, workload="submit", rate=RATE, seconds=scale.open_s, warm_s=0)
            await generate(load)
            found = await programs.finish(subscriber, line.LIMIT_S)
    if not found["complete"]:
        raise RuntimeError(f"the subscriber got {found['events']} of {count} events")
    told = {name: found[name] for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms", "events")}
    sheet.put("event_latency_p99_ms", found["p99_ms"], rate_per_s=RATE, broker=kafka.name, **told)


async def _create_topic(of: line.Line) -> None:
    """The first event makes the topic; a subscriber can wait for it, but would then count the making too."""
    load = Load(target=of.scheduler, workload="submit", rate=100, seconds=0.5, warm_s=0)
    await generate(load)
    await line.idle(of.redis)
    await line.relayed(of.redis)
