"""The services under measurement, as processes: Valkey, a broker, a scheduler or a limiter, workers."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headworks_core.store import redis_client
from headworks_devkit import services
from headworks_devkit.backends import KafkaBackend, RedisBackend
from headworks_devkit.backends.kafka_apache import apache_kafka
from headworks_devkit.backends.kafka_embedded import embedded_kafka
from headworks_devkit.backends.valkey import valkey
from headworks_devkit.ports import free_ports
from redis.asyncio import Redis

from tests.bench import programs

SLOTS = 1_000
TICK_S = 0.02
LIMIT_S = 90.0
COUNTS, OUTBOX, RELAY = "{hw:0}:q:default:counts", "{hw:0}:outbox", "{hw:0}:relay"
QUEUES = "queues: {default: {max_size: 10_000_000}}\n"
WINDOW = 1_000_000
RULES = """
namespaces:
  bench:
    rules:
      - {name: per-user, match: {user: "*"}, limit: 1_000_000/second}
  three:
    rules:
      - {name: per-user, match: {user: "*"}, limit: 1_000_000/second}
      - {name: per-endpoint, match: {endpoint: "*"}, limit: 100_000_000/minute, algorithm: sliding_window_counter}
      - {name: in-all, match: {}, limit: 1_000_000_000/day, algorithm: fixed_window}
  hot:
    rules:
      - {name: one, match: {user: "*"}, limit: 1/day}
  leased:
    rules:
      - {name: all, match: {}, limit: 100_000_000/second}
  window:
    rules:
      - {name: in-all, match: {}, limit: 1_000_000/year, algorithm: fixed_window}
"""
_TOPICS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Line:
    """A running scheduler and what it needs."""

    redis: Redis
    """Straight to the server, also where the scheduler's way is delayed."""
    store: RedisBackend
    scheduler: str
    worker_port: str
    topic: str
    pids: Mapping[str, int]
    env: Mapping[str, str]


@asynccontextmanager
async def broker(kind: str) -> AsyncIterator[KafkaBackend | None]:
    """A broker by name: none, embedded or apache."""
    if kind == "none":
        yield None
    else:
        async with apache_kafka() if kind == "apache" else embedded_kafka() as kafka:
            yield kafka


@asynccontextmanager
async def line(
    kafka: KafkaBackend | None, *, delay_ms: float = 0.0, env: Mapping[str, str] | None = None
) -> AsyncIterator[Line]:
    """An empty Valkey and a scheduler, `delay_ms` apart; no worker yet."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(valkey())
        redis = await stack.enter_async_context(redis_client(store.url, timeout_s=30))
        seen = await stack.enter_async_context(delayed(store, delay_ms)) if delay_ms else store
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headworks-bench-")))
        queues = folder / "queues.yaml"
        await asyncio.to_thread(queues.write_text, QUEUES)
        api, worker = (f"127.0.0.1:{port}" for port in free_ports(2))
        topic = f"headworks.bench{next(_TOPICS)}.v1"
        service = services.scheduler(
            "scheduler",
            address=api,
            worker_address=worker,
            redis=seen,
            kafka=kafka,
            queues=queues,
            kafka_topic=topic,
            outbox_max=10_000_000,
        )
        process = await stack.enter_async_context(services.running(service, env=env))
        pids = {"valkey": store.pid or 0, "scheduler": process.pid}
        if kafka is not None and kafka.pid is not None:
            pids["kafka"] = kafka.pid
        yield Line(redis, store, api, worker, topic, pids, env or {})


@asynccontextmanager
async def delayed(store: RedisBackend, delay_ms: float) -> AsyncIterator[RedisBackend]:
    """The same server behind a proxy whose replies come `delay_ms` later."""
    port = store.url.rpartition(":")[2].partition("/")[0]
    async with programs.serving("tests.bench.delay", port, delay_ms) as (mine, _):
        yield RedisBackend(f"redis://127.0.0.1:{mine}/0", f"{store.name} after {delay_ms:g} ms")


async def round_trip_ms(url: str) -> float:
    """Median of 50 PINGs."""
    async with redis_client(url, timeout_s=10) as redis:
        took = []
        for _ in range(50):
            began = time.perf_counter()
            await redis.ping()
            took.append((time.perf_counter() - began) * 1000)
    return round(sorted(took)[25], 2)


@asynccontextmanager
async def worker(of: Line, *, slots: int = SLOTS) -> AsyncIterator[int]:
    """One worker process; yields its pid."""
    health = f"127.0.0.1:{free_ports(1)[0]}"
    service = services.worker(
        "worker",
        tasks="tests.bench.tasks",
        scheduler=of.worker_port,
        api=of.scheduler,
        limiter="127.0.0.1:1",
        health=health,
        slots=slots,
    )
    async with services.running(service, env={**of.env, **programs.import_path()}) as process:
        yield process.pid


@asynccontextmanager
async def limiter(store: RedisBackend, **more: object) -> AsyncIterator[tuple[str, int]]:
    """A limiter with one rule for every user; yields its address and pid. `more` are settings."""
    with tempfile.TemporaryDirectory(prefix="headworks-bench-") as folder:
        rules = Path(folder) / "rules.yaml"
        await asyncio.to_thread(rules.write_text, RULES)
        address = f"127.0.0.1:{free_ports(1)[0]}"
        service = services.limiter("limiter", address=address, redis=store, rules=rules, **more)
        async with services.running(service) as process:
            yield address, process.pid


async def unfinished(redis: Redis) -> int:
    """Jobs that have not ended."""
    waiting, leased = await redis.hmget(COUNTS, ["waiting", "leased"])
    return int(waiting or 0) + int(leased or 0)


async def idle(redis: Redis) -> None:
    """Wait until every job has ended."""
    async with asyncio.timeout(LIMIT_S):
        while await unfinished(redis):
            await asyncio.sleep(TICK_S)


async def unsent(redis: Redis) -> bool:
    """Whether events wait for the broker."""
    last: Any = await redis.xrevrange(OUTBOX, count=1)
    cursor = await redis.hget(RELAY, "cursor")
    return bool(last) and (cursor is None or cursor != last[0][0])


async def relayed(redis: Redis) -> None:
    """Wait until no event waits."""
    async with asyncio.timeout(LIMIT_S):
        while await unsent(redis):
            await asyncio.sleep(TICK_S)
