"""kill -9 in the middle of a run: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from headworks_client import Job, JobSnapshot, JobState, SchedulerClient
from headworks_client.events import EventReader
from headworks_core.errors import ServiceError
from headworks_core.names import uuid7

from tests.e2e.tasks import add, limited
from tests.support.suite import Suite

JOBS = 2_000
BATCH = 50
RULES = """
namespaces:
  e2e:
    rules:
      - {name: limited, match: {what: limited}, limit: 400, per: 1s}
"""


async def submit(client: SchedulerClient, progress: asyncio.Queue[int]) -> list[Job]:
    """Submit JOBS jobs in batches, each batch again until it is acknowledged; says how many there are after each."""
    jobs: list[Job] = []
    for first in range(0, JOBS, BATCH):
        numbers = range(first, first + BATCH)
        batch = [
            limited.options(request_id=uuid7()).submission(number=number)
            if number % 4 == 0
            else add.options(request_id=uuid7()).submission(a=number, b=1)
            for number in numbers
        ]
        while True:
            outcomes: Sequence[Job | ServiceError] = await client.submit_many(batch)
            acknowledged = [outcome for outcome in outcomes if isinstance(outcome, Job)]
            if len(acknowledged) == BATCH:
                break
        jobs += acknowledged
        progress.put_nowait(len(jobs))
    return jobs


async def reached(progress: asyncio.Queue[int], count: int) -> None:
    """Wait until `count` jobs are acknowledged."""
    while await progress.get() < count:
        pass


async def test_killing_each_service_loses_no_acknowledged_job(suite: Suite) -> None:
    topic = "kill.jobs.v1"
    settings: dict[str, Any] = {"lease_s": 3, "delivery_s": 2, "reconnect_grace_s": 1, "kafka_topic": topic}
    assert suite.kafka is not None
    limiter = await suite.limiter(rules=RULES)
    first = await suite.scheduler("scheduler-1", **settings)
    await suite.scheduler("scheduler-2", **settings)
    worker = await suite.worker("worker-1", tasks="tests.e2e.tasks")
    await suite.worker("worker-2", tasks="tests.e2e.tasks")
    async with (
        EventReader(suite.kafka.bootstrap, topic=topic, group="kill") as reader,
        SchedulerClient(suite.api) as client,
    ):
        progress: asyncio.Queue[int] = asyncio.Queue()
        submitting = asyncio.create_task(submit(client, progress))
        await reached(progress, JOBS // 4)
        await worker.kill()
        await reached(progress, JOBS // 2)
        await first.kill()
        await reached(progress, JOBS * 3 // 4)
        await limiter.kill()
        for name in ("limiter", "scheduler-1", "worker-1"):
            await suite.restart(name)
        jobs = await submitting
        ended = await terminal(client, jobs)
        events = await terminal_events(reader, {job.name for job in jobs})

    assert Counter(job.state for job in ended) == {JobState.SUCCEEDED: JOBS}
    assert len({job.name for job in ended}) == JOBS
    assert Counter(events.values()) == {1: JOBS}
    assert max(job.failures for job in ended) == 0


async def terminal(client: SchedulerClient, jobs: Sequence[Job]) -> list[JobSnapshot]:
    """Every job's final state."""
    async with asyncio.timeout(90):
        return [snapshot async for snapshot in client.watch([job.name for job in jobs], terminal_only=True)]


async def terminal_events(reader: EventReader, names: set[str]) -> Counter[str]:
    """How many different terminal events each of these jobs has, once each has one."""
    seen: Counter[str] = Counter()
    async with asyncio.timeout(60):
        async for event in reader:
            if event.transition in ("succeeded", "dead", "cancelled"):
                seen[event.subject] += 1
            if names <= seen.keys():
                break
    return seen
