"""A worker that was asleep past its lease."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from headworks_client import JobState, SchedulerClient
from headworks_client.tasks import Task
from headworks_devkit.processes import Child
from redis.asyncio import Redis

from tests.e2e.tasks import REDIS_URL, guarded, spin, stubborn
from tests.support.suite import Suite
from tests.support.wait import wait_until

TOPIC = "fencing.jobs.v1"
LEASE_S = 1.0


@pytest.fixture
async def client(suite: Suite) -> AsyncIterator[SchedulerClient]:
    """A scheduler with short leases, and a client of it."""
    suite.env[REDIS_URL] = suite.redis.url
    await suite.scheduler(lease_s=LEASE_S, delivery_s=LEASE_S, reconnect_grace_s=0.2, kafka_topic=TOPIC)
    async with SchedulerClient(suite.api) as client:
        yield client


async def pushed(redis: Redis, key: str, value: int) -> None:
    """Wait until `value` is in the list."""

    async def there() -> bool:
        return str(value).encode() in await redis.lrange(key, 0, -1)

    await wait_until(there, 20)


async def asleep(suite: Suite, redis: Redis, job: Task[..., Any], name: str) -> Child:
    """A worker that began `job`, was stopped past its lease, while another has run it to the end; still stopped."""
    sleeper = await suite.worker("sleeper", tasks="tests.e2e.tasks")
    handle = await job.submit(name=name)
    async for snapshot in handle.watch():
        if snapshot.progress:  # a heartbeat has confirmed the lease
            break
    sleeper.pause()
    await suite.worker("other", tasks="tests.e2e.tasks")
    await pushed(redis, f"{name}:begun", 2)
    await redis.rpush(f"{name}:go:2", "go")
    assert await handle.result(timeout_s=20) == "attempt 2"
    return sleeper


async def test_the_handler_of_a_lost_lease_is_cancelled(suite: Suite, client: SchedulerClient, redis: Redis) -> None:
    sleeper = await asleep(suite, redis, guarded, "calm")

    sleeper.resume()
    await pushed(redis, "calm:cancelled", 1)

    assert await redis.get("calm:effects") == b"1"


async def test_a_late_completion_is_refused_and_its_effect_fenced_off(
    suite: Suite, client: SchedulerClient, redis: Redis
) -> None:
    sleeper = await asleep(suite, redis, stubborn, "late")
    await redis.rpush("late:go:1", "go")

    sleeper.resume()

    async def refused() -> bool:
        return any("lost" in line for line in suite.logs["sleeper"])

    await wait_until(refused, 20)
    await sleeper.stop()  # everything it had to say has been said
    keys: Any = await redis.keys("{hw:0}:job:*")
    (name,) = [key.decode().partition(":job:")[2] for key in keys]
    tenant, queue, tail = name.split("/")
    job = await client.get(f"tenants/{tenant}/queues/{queue}/jobs/0-{tail}")
    assert job.state is JobState.SUCCEEDED
    assert (job.worker, job.attempts, job.lost_leases) == ("other", 2, 1)
    assert await redis.get("late:effects") == b"1"


async def test_a_handler_that_holds_the_loop_keeps_its_lease(suite: Suite, client: SchedulerClient) -> None:
    await suite.worker("busy", tasks="tests.e2e.tasks")

    job = await spin.submit(seconds=4 * LEASE_S)
    await job.result(timeout_s=30)

    assert (await job.get()).attempts == 1
