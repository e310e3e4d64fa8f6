"""Rows 15 and 16: floods. What is promised today is strict order of levels, shares between queues by the weights of the
workers, and fair turns between tenants; nothing lifts a low level by its age yet."""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path

from headworks.worker.v1 import session_pb2 as pb
from headworks_client import JobSnapshot, SchedulerClient
from headworks_devkit.backends import RedisBackend
from redis.asyncio import Redis

from tests.e2e.scenarios.jobs import payload, some, submit, worker_port
from tests.e2e.tasks import add
from tests.support.raw_worker import RawWorker, raw_worker
from tests.support.suite import running_suite

FLOOD = 100_000
HOARD = 40_000
QUEUES = "queues: {default: {}, side: {}}\n"
SLOTS = 400


async def taken(worker: RawWorker, count: int) -> list[tuple[str, bytes, float]]:
    """Take and finish so many jobs: queue, payload and time of arrival of each, in the order in which they came."""
    order: list[tuple[str, bytes, float]] = []
    batch = 0
    await worker.send(credit=pb.Credit(slots=SLOTS))
    async with asyncio.timeout(60):
        while len(order) < count:
            jobs = (await worker.next("assign")).assign.jobs
            now = time.monotonic()
            order += [(job.job.split("/")[3], payload(job), now) for job in jobs]
            batch += 1
            results = [pb.Result(job=job.job, lease_id=job.lease_id, success=pb.Success()) for job in jobs]
            await worker.send(results=pb.Results(batch=batch, results=results, credit=len(jobs)))
    return order


async def test_15_a_flood_of_urgent_jobs_runs_first_and_leaves_another_queue_its_share(
    valkey_url: str, redis: Redis, tmp_path: Path
) -> None:
    low, side = 20, 5_000
    async with running_suite(RedisBackend(valkey_url, "valkey"), None, tmp_path) as suite:
        await suite.scheduler(queues=QUEUES)
        async with SchedulerClient(suite.api, timeout_s=20) as client, raw_worker(worker_port(suite)) as worker:
            await submit(client, some(low, level=9))
            await submit(client, some(side, level=9), queue="side")
            await submit(client, some(FLOOD, level=0))
            await worker.attach(queues=[("default", 3), ("side", 1)], slots=SLOTS)
            order = await taken(worker, low + side + FLOOD)

    main = [(payload, at) for queue, payload, at in order if queue == "default"]
    assert [int(number) for number, _ in main] == [*range(FLOOD), *range(low)]
    flood_over, last_low = main[FLOOD - 1][1], main[-1][1]
    assert last_low - flood_over < 5, "the lowest level runs as soon as the flood is over"
    window = [queue for queue, _, _ in order[: 3 * side]]  # both queues have work all the time
    assert 0.2 < window.count("side") / len(window) < 0.3, "one in four"


def p99(values: list[float]) -> float:
    """The 99th percentile."""
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]


async def waits(client: SchedulerClient, count: int, every_s: float) -> list[float]:
    """How long each of `count` jobs waited for a worker, in seconds of Redis' clock; one begins every `every_s`."""

    async def one() -> float:
        job = await add.submit(client=client, a=1, b=1)
        ended: JobSnapshot = await job.ended(30)
        assert ended.create_time is not None
        assert ended.start_time is not None
        return (ended.start_time - ended.create_time).total_seconds()

    running = []
    for _ in range(count):
        running.append(asyncio.create_task(one()))
        await asyncio.sleep(every_s)
    return list(await asyncio.gather(*running))


async def test_16_a_tenant_that_enqueues_very_many_leaves_the_wait_of_another_unchanged(
    valkey_url: str, redis: Redis, tmp_path: Path
) -> None:
    async with running_suite(RedisBackend(valkey_url, "valkey"), None, tmp_path) as suite:
        await suite.scheduler()
        await suite.worker(tasks="tests.e2e.tasks", slots=50)
        async with (
            SchedulerClient(suite.api, tenant="hog", timeout_s=20) as hog,
            SchedulerClient(suite.api, tenant="modest", timeout_s=20) as modest,
        ):
            alone_s = p99(await waits(modest, 100, 0.01))
            await submit(hog, [add.submission(a=number, b=1) for number in range(HOARD)])
            crowded_s = p99(await waits(modest, 100, 0.01))
            behind = int(await redis.hget("{hw:0}:q:default:counts", "waiting:hog") or 0)

    assert crowded_s < 10 * alone_s + 0.2, f"{crowded_s:.3f} s, alone {alone_s:.3f} s"
    assert behind > 1_000, "the flood was over too soon to say anything"
