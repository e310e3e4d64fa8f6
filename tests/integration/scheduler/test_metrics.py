"""What a scheduler tells Prometheus, and that none of it grows with what callers say."""

from __future__ import annotations

import time

import pytest
from headworks.worker.v1 import session_pb2
from headworks_core.cells import Meta
from headworks_scheduler.store.lag import Lag, LagReader
from redis.asyncio import Redis

from tests.integration.scheduler.conftest import Scheduler, Start
from tests.support.http import get, scrape, value
from tests.support.raw_worker import failed, raw_worker, released
from tests.support.wait import wait_until


async def test_the_numbers_follow_what_happens(scheduler: Scheduler) -> None:
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(slots=9, credit=5)
        for _ in range(6):
            await scheduler.submit()
        await scheduler.submit(queue="other")
        jobs = await worker.jobs(5)
        await worker.finish(jobs[0], jobs[1])
        await worker.finish(jobs[2], outcome=failed)
        await worker.finish(jobs[3], outcome=released)
        seen = await scrape(scheduler.monitor)

    jobs_total = seen["headworks_scheduler_jobs_total"]
    assert {dict(labels)["outcome"]: number for labels, number in jobs_total.items()} == {
        "claimed": 5, "succeeded": 2, "retried": 1, "released": 1,
    }  # fmt: skip
    assert value(seen, "headworks_scheduler_submits_total", queue="default", outcome="created") == 6
    assert value(seen, "headworks_scheduler_queue_jobs", queue="other", state="ready") == 1
    assert value(seen, "headworks_scheduler_queue_jobs", queue="default", state="leased") == 1
    assert value(seen, "headworks_scheduler_sessions") == 1
    assert value(seen, "headworks_scheduler_slots") == 9
    assert value(seen, "headworks_scheduler_leases") == 1
    method = "headworks.scheduler.v1.SchedulerService/SubmitJob"
    assert value(seen, "headworks_rpc_calls_total", method=method, status="OK") >= 7
    assert value(seen, "headworks_rpc_duration_seconds_count", method=method) >= 7
    assert value(seen, "headworks_rpc_streams", method="headworks.worker.v1.WorkerService/Session") == 1
    assert value(seen, "headworks_script_duration_seconds_count", script="claim") >= 1
    assert value(seen, "headworks_loop_delay_seconds_count") >= 1


async def test_sessions_that_end_are_counted_by_how(scheduler: Scheduler) -> None:
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(worker="gone")
        await worker.leave()
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(worker="lost")

    async def both() -> bool:
        seen = await scrape(scheduler.monitor)
        ended = "headworks_scheduler_sessions_ended_total"
        return (value(seen, ended, how="gone"), value(seen, ended, how="lost")) == (1, 1)

    await wait_until(both, 10, what="both ends to be counted")


async def test_no_label_grows_with_tenants_tasks_workers_or_lanes(scheduler: Scheduler) -> None:
    secret = "hunter2"
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(worker="first", credit=5)
        await scheduler.submit("first-task")
        await worker.finish(*await worker.jobs(1))
        await scrape(scheduler.monitor)
    before = await _series(scheduler)
    for number in range(300):
        await scheduler.submit(f"task-{number}-{secret}", tenant=f"tenant-{number}", lane=f"lane-{number}-{secret}")
    async with raw_worker(scheduler.worker) as worker:
        await worker.attach(
            worker=f"worker-{secret}", slots=300, credit=300, tasks=[f"t-{secret}-{n}" for n in range(50)]
        )
        jobs = await worker.jobs(300)
        made_up = session_pb2.Result(job=jobs[0].job.replace("default", f"q-{secret}"), lease_id=1)
        made_up.success.SetInParent()
        await worker.send(results=session_pb2.Results(batch=9, results=[made_up]))
        await worker.next("ack")
        await worker.finish(*jobs)

    after = await _series(scheduler)
    _, text = await get(scheduler.monitor, "/metrics")
    assert secret not in text
    assert "tenant-" not in text
    new = {name for name, _ in after - before if name.startswith("headworks_scheduler_")}
    assert new <= {"headworks_scheduler_sessions_ended_total"}


async def _series(scheduler: Scheduler) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    seen = await scrape(scheduler.monitor)
    return {(name, labels) for name, of_name in seen.items() for labels in of_name}


async def test_without_the_store_the_metrics_go_on(start: Start, redis: Redis) -> None:
    async with start() as scheduler:
        await redis.execute_command("CLIENT", "PAUSE", "4000", "ALL")  # type: ignore[no-untyped-call]
        began = time.monotonic()
        seen = await scrape(scheduler.monitor)
        took_s = time.monotonic() - began
        await redis.execute_command("CLIENT", "UNPAUSE")  # type: ignore[no-untyped-call]

    assert "headworks_scheduler_sessions" in seen
    assert "headworks_scheduler_queue_jobs" not in seen
    assert took_s < 3.9  # the scrape does not wait for the store


@pytest.mark.parametrize("cells", [1, 3])
async def test_the_lag_is_that_of_all_cells(redis: Redis, cells: int) -> None:
    now_us = 1_700_000_000_000_000
    reader = LagReader(redis, Meta(cells=cells, events="kafka"), now_us=lambda: now_us)
    assert await reader.read() == Lag()

    last = cells - 1
    await redis.xadd("{hw:0}:outbox", {"event": "a"}, id=f"{now_us // 1000 - 3_000}-1")
    await redis.xadd(f"{{hw:{last}}}:outbox", {"event": "b"}, id=f"{now_us // 1000 - 2_000}-1")
    await redis.xadd(f"{{hw:{last}}}:outbox:aside", {"event": "c"})
    assert await reader.read() == Lag(2, 3_000_000, 1)

    await redis.hset("{hw:0}:relay", "cursor", f"{now_us // 1000 - 3_000}-1")
    oldest_us = (await reader.read()).oldest_us
    assert oldest_us == 2_000_000
