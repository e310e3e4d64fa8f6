"""Tasks of the end-to-end tests. What they do to the world goes to Redis, where the tests can see it."""

from __future__ import annotations

import asyncio
import os
import threading
import time

from headworks_worker import Context, task
from redis import Redis as SyncRedis
from redis.asyncio import Redis

REDIS_URL = "TEST_REDIS_URL"

# A store that respects fencing tokens: a write with an older token than the last is refused.
FENCED_ADD = """
if tonumber(ARGV[1]) < tonumber(redis.call('GET', KEYS[2]) or '0') then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('INCR', KEYS[1])
return 1
"""


@task(name="e2e.add")
async def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


@task(name="e2e.limited")
async def limited(ctx: Context, number: int) -> int:
    """Asks the limiter first, and waits its turn."""
    await ctx.acquire("e2e", {"what": "limited"})
    return number


@task(name="e2e.guarded")
async def guarded(ctx: Context, name: str) -> str:
    """Says that it has begun, waits for `go`, then has its effect once per fencing token."""
    async with Redis.from_url(os.environ[REDIS_URL], socket_timeout=None) as redis:
        ctx.progress(0, 1, "begun")
        await redis.rpush(f"{name}:begun", ctx.attempt)
        try:
            await redis.blpop([f"{name}:go:{ctx.attempt}"], 60)
        except asyncio.CancelledError:
            await redis.rpush(f"{name}:cancelled", ctx.attempt)
            raise
        await redis.eval(FENCED_ADD, 2, f"{name}:effects", f"{name}:token", ctx.lease_id)
    return f"attempt {ctx.attempt}"


@task(name="e2e.stubborn")
def stubborn(ctx: Context, name: str) -> str:
    """The same on a thread, which cannot be stopped: it completes whenever it is told to, however late."""
    with SyncRedis.from_url(os.environ[REDIS_URL], socket_timeout=None) as redis:
        ctx.progress(0, 1, "begun")
        redis.rpush(f"{name}:begun", ctx.attempt)
        redis.blpop([f"{name}:go:{ctx.attempt}"], 60)
        redis.eval(FENCED_ADD, 2, f"{name}:effects", f"{name}:token", ctx.lease_id)
    return f"attempt {ctx.attempt}"


@task(name="e2e.spin")
async def spin(seconds: float) -> int:
    """Holds the event loop, in pure Python."""
    end = time.monotonic() + seconds
    turns = 0
    while time.monotonic() < end:
        turns += 1
    return threading.active_count()
