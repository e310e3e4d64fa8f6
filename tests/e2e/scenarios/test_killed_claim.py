"""Row 23: a scheduler that is killed when Redis has leased jobs to a worker, and the worker has not been told."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
from headworks.worker.v1 import session_pb2 as pb
from headworks_client import JobState, SchedulerClient
from headworks_core.store import redis_client
from headworks_devkit.backends import RedisBackend
from headworks_devkit.backends.valkey import valkey

from tests.e2e.scenarios.jobs import leased, looked_at, some, submit, worker_port
from tests.support.proxy import proxy
from tests.support.raw_worker import RawWorker, raw_worker
from tests.support.suite import running_suite

JOBS = 50
DELIVERY_S = 2.0
ANSWER_S = 1.0


async def last_words(worker: RawWorker) -> set[str | None]:
    """The kinds of message that still come until the session breaks."""
    kinds: set[str | None] = set()
    with suppress(grpc.aio.AioRpcError):
        while isinstance(message := await worker.call.read(), pb.SessionResponse):
            kinds.add(message.WhichOneof("message"))
    return kinds


async def test_23_jobs_of_a_claim_that_nobody_heard_of_come_back_after_the_delivery_time_uncounted(
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {"delivery_s": DELIVERY_S, "lease_s": 60, "reconnect_grace_s": 0.1}
    async with (
        valkey() as server,
        redis_client(server.url, timeout_s=10) as redis,
        proxy(server.address.removeprefix("redis://").partition("/")[0]) as between,
        running_suite(RedisBackend(f"redis://{between.address}/0", "proxied"), None, tmp_path / "doomed") as doomed,
        running_suite(server, None, tmp_path / "other") as other,
    ):
        victim = await doomed.scheduler("doomed", **settings)
        await other.scheduler("other", **settings)
        async with SchedulerClient(other.api) as client, raw_worker(worker_port(doomed)) as unaware:
            await unaware.attach(worker="unaware", slots=JOBS)
            names = await submit(client, some(JOBS))
            between.delay(ANSWER_S, "down")  # what Redis does is done, but its answer is a long time coming
            await unaware.send(credit=pb.Credit(slots=JOBS))
            await leased(redis, JOBS)
            claimed = time.monotonic()
            await victim.kill()
            assert "assign" not in await last_words(unaware)

            async with raw_worker(worker_port(other)) as worker:
                await worker.attach(worker="heir", slots=JOBS, credit=JOBS)
                jobs = await worker.jobs(JOBS)
                waited_s = time.monotonic() - claimed
                returned = await looked_at(client, names)
                ack = await worker.finish(*jobs)
            ends = await looked_at(client, names)

    assert not ack.lost
    assert {job.job for job in jobs} == set(names)
    assert {job.attempt for job in jobs} == {1}
    assert {(job.attempts, job.undelivered, job.lost_leases, job.worker) for job in returned} == {(1, 1, 0, "heir")}
    assert {(job.state, job.attempts, job.failures) for job in ends} == {(JobState.SUCCEEDED, 1, 0)}
    assert DELIVERY_S * 0.8 <= waited_s <= DELIVERY_S + 10
