"""What a bucket costs in Valkey's memory, by algorithm. The script is called directly, with a time of its own."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from headworks.limiter.v1.limiter_pb2 import PermitRequest
from headworks_core.cells import Meta
from headworks_core.store import redis_client
from headworks_devkit.backends.valkey import valkey
from headworks_limiter import rules
from headworks_limiter.domain.ask import Ask
from headworks_limiter.domain.decision import Mode
from headworks_limiter.requests import RequestReader
from headworks_limiter.store.redis import RedisBuckets
from redis.asyncio import Redis

from tests.bench.figures import Sheet
from tests.bench.scale import Scale

BATCH = 250
SAMPLE = 200
STEP_US = 1_000


@dataclass(frozen=True, slots=True)
class Shape:
    """A rule, and how many permits are taken from each of its buckets, one after the other."""

    rule: str
    permits: int = 1
    held: bool = False
    """Each grant has a record, which counts."""
    hold_s: int = 0


# By the name that the table gives it. A new algorithm is one more line.
SHAPES = {
    "gcra": Shape("limit: 300/hour"),
    "token_bucket": Shape("limit: 300/hour, algorithm: token_bucket"),
    "fixed_window": Shape("limit: 300/hour, algorithm: fixed_window"),
    "sliding_window_counter": Shape("limit: 300/hour, algorithm: sliding_window_counter"),
    "sliding_window_log, 1 entry": Shape("limit: 300/hour, algorithm: sliding_window_log"),
    "sliding_window_log, 10 entries": Shape("limit: 300/hour, algorithm: sliding_window_log", 10),
    "sliding_window_log, 100 entries": Shape("limit: 300/hour, algorithm: sliding_window_log", 100),
    "leaky_bucket": Shape("limit: 300/hour, algorithm: leaky_bucket"),
    "gcra, and the record of a held grant": Shape("limit: 300/hour", held=True, hold_s=60),
    "concurrency, 1 hold and its record": Shape("limit: 100, algorithm: concurrency", held=True),
    "concurrency, 10 holds and their records": Shape("limit: 100, algorithm: concurrency", 10, held=True),
    "adaptive, 1 hold and its record": Shape("limit: 100, algorithm: adaptive", held=True),
}


async def run(scale: Scale, sheet: Sheet) -> None:
    """limiter_bytes_per_bucket."""
    found = {name: await measure(shape, scale.buckets // shape.permits) for name, shape in SHAPES.items()}
    for name, of in found.items():
        print(f"    {name:32} {of['bytes']:>8,} bytes, {of['memory_usage']:,} by MEMORY USAGE", flush=True)
    sheet.put(
        "limiter_bytes_per_bucket",
        found["gcra"]["bytes"],
        by_algorithm=found,
        taken="bytes: used_memory after over before, by buckets; memory_usage: mean of a sample; key and TTL included",
        key="a tenant of 7 characters, namespace and rule of 3 and 8",
    )


async def measure(shape: Shape, count: int) -> dict[str, int]:
    """Bytes a bucket, over `count` buckets of an otherwise empty server."""
    now_us = itertools.count(time.time_ns() // 1_000, STEP_US)
    async with valkey() as server, redis_client(server.url, timeout_s=60) as redis:
        store = RedisBuckets(redis, timeout_s=60, now_us=lambda: next(now_us))
        await store.prepare(1)
        before = await _used(redis)
        asks = list(await asyncio.to_thread(_asks, shape, count))
        for permit in range(shape.permits):
            if shape.held and permit:  # other grants of the same buckets
                asks = list(await asyncio.to_thread(_asks, shape, count))
            for at in range(0, count, BATCH):
                await store.decide(asks[at : at + BATCH])
        bytes_in_all = await _used(redis) - before
        held = await redis.dbsize()
        keys = count * (1 + shape.permits) if shape.held else count
        if held != keys:
            raise RuntimeError(f"{held} keys, not {keys}")
        sample = [ask.buckets[0].key for ask in asks[:: max(1, count // SAMPLE)]]
        usages = [int(await redis.memory_usage(key) or 0) for key in sample]
        values = [len(await redis.get(key) or b"") for key in sample]
    return {
        "buckets": count,
        "bytes": round(bytes_in_all / count),
        "memory_usage": round(mean(usages)),
        "value": round(mean(values)),
    }


def _asks(shape: Shape, count: int) -> Iterator[Ask]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rules.yaml"
        file.write_text(f"namespaces: {{api: {{rules: [{{name: per-user, match: {{user: '*'}}, {shape.rule}}}]}}}}\n")
        reader = RequestReader(rules.load(str(file)), Meta())
    for number in range(count):
        request = PermitRequest(namespace="api", descriptors={"user": f"user-{number}"})
        if shape.hold_s:
            request.hold.seconds = shape.hold_s
        yield reader.ask(request, "default", Mode.TAKE)


async def _used(redis: Redis) -> int:
    memory: Any = await redis.info("memory")
    return int(memory["used_memory"])
