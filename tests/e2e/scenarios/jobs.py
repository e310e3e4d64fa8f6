"""What the scenarios have in common: submissions, and looking at many jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks_client import Job, JobSnapshot, SchedulerClient
from headworks_client.submissions import Submission
from headworks_core.names import parse_job
from redis.asyncio import Redis

from tests.support.suite import Suite
from tests.support.wait import wait_until

TASK = "scenario.any"


def some(count: int, **options: Any) -> list[Submission]:
    """That many submissions, whose payloads are their numbers."""
    return [Submission(TASK, str(number).encode(), **options) for number in range(count)]


async def submit(client: SchedulerClient, jobs: Sequence[Submission], *, queue: str = "default") -> list[str]:
    """Submit them all; their names. None may be refused."""
    outcomes = await client.submit_many(jobs, queue=queue)
    names = [outcome.name for outcome in outcomes if isinstance(outcome, Job)]
    assert len(names) == len(jobs), [outcome for outcome in outcomes if not isinstance(outcome, Job)][:3]
    return names


async def looked_at(client: SchedulerClient, names: Iterable[str]) -> list[JobSnapshot]:
    """The jobs as they are now, in this order."""
    names = list(names)
    found: list[JobSnapshot] = []
    for at in range(0, len(names), 100):
        found += await asyncio.gather(*[client.get(name) for name in names[at : at + 100]])
    return found


async def leased(redis: Redis, count: int) -> None:
    """Wait until that many jobs of cell 0 are leased."""

    async def there() -> bool:
        return await redis.zcard("{hw:0}:leases") == count

    await wait_until(there, 20, what=f"{count} leases")


async def delivered(redis: Redis, *jobs: pb.Assignment) -> None:
    """Wait until a heartbeat that listed these jobs has been recorded."""
    refs = [parse_job(job.job).ref for job in jobs]

    async def heard() -> bool:
        beats = [await redis.hget(f"{{hw:0}}:job:{ref}", "beat") for ref in refs]
        return beats == [str(job.lease_id).encode() for job in jobs]

    await wait_until(heard, 10, what="the heartbeat")


def payload(job: pb.Assignment) -> bytes:
    """What the job was submitted with."""
    return job_pb2.JobSpec.FromString(job.spec).payload.data


def worker_port(suite: Suite) -> int:
    """The worker port of the only scheduler."""
    return int(suite.worker_target.rpartition(":")[2])
