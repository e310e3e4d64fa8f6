"""What the store holds when the system should be at rest: read from outside, through no proxy."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from headworks_client import SchedulerClient
from headworks_core.errors import NotFound, Unavailable
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.chaos.cluster import CELLS, SCHEDULERS, TENANTS, now
from tests.chaos.history import Final, History
from tests.chaos.load import final_of

POLL_S = 0.3
MUST_BE_EMPTY = re.compile(
    r"\{hw:\d+\}:(leases|timers|outbox:aside|q:[^:]+:(counts|levels|virtual|ready:.*|tenants:.*|lanes:.*|resting:.*))"
)
GET_S = 20.0


async def left_over(redis: Redis) -> list[str]:
    """What is not at rest, in words: waiting or running jobs, indexes, counters, events not yet with Kafka."""
    found: list[str] = []
    keys: list[Any] = [key async for key in redis.scan_iter(match="{hw:*", count=5_000)]
    for key in sorted({raw.decode() for raw in keys}):
        if MUST_BE_EMPTY.fullmatch(key):
            found.append(f"{key}: {await _words(redis, key)}")
        elif key.endswith(":waiters"):
            members: Any = await redis.smembers(key)
            strangers = {name.decode() for name in members} - set(SCHEDULERS)
            found += [f"{key}: {sorted(strangers)} are no replicas"] if strangers else []
    for cell in range(CELLS):
        if backlog := await redis.xlen(f"{{hw:{cell}}}:outbox"):
            found.append(f"{{hw:{cell}}}:outbox: {backlog} events wait for Kafka")
    return found


async def _words(redis: Redis, key: str) -> str:
    kind: Any = await redis.type(key)
    if kind == b"hash":
        fields: Any = await redis.hgetall(key)
        return str({name.decode(): value.decode() for name, value in fields.items()})
    if kind == b"zset":
        members: Any = await redis.zrange(key, 0, 2)
        return f"{await redis.zcard(key)} members, first {[member.decode() for member in members]}"
    return str(kind)


async def come_to_rest(redis: Redis, timeout_s: float) -> list[str]:
    """Wait until nothing is left over. Returns what still is when the time is over."""
    end = now() + timeout_s
    while True:
        try:
            found = await left_over(redis)
        except RedisError as error:
            found = [f"the store: {error!r}"]
        if not found or now() > end:
            return found
        await asyncio.sleep(POLL_S)


async def read_finals(api: str, history: History) -> None:
    """Ask the API for every job of the epoch; those that it does not know are left out."""
    by_tenant: dict[str, list[str]] = defaultdict(list)
    for job in history.submitted:
        by_tenant[job.tenant].append(job.name)
    await asyncio.gather(*(_read(api, tenant, by_tenant[tenant], history.final) for tenant in TENANTS))


async def _read(api: str, tenant: str, names: Sequence[str], into: list[Final]) -> None:
    async with SchedulerClient(api, tenant=tenant) as client:
        for name in names:
            end = now() + GET_S
            while True:
                try:
                    into.append(final_of(await client.get(name)))
                except NotFound:
                    pass
                except Unavailable:
                    if now() > end:
                        raise
                    await asyncio.sleep(POLL_S)
                    continue
                break
