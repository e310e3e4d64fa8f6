"""Row 14: a job of the lowest level that takes its worker down again and again."""

from __future__ import annotations

import random

from headworks.worker.v1 import session_pb2 as pb
from headworks_client import JobState, SchedulerClient
from headworks_client.submissions import Submission

from tests.e2e.scenarios.jobs import TASK, payload, submit, worker_port
from tests.support.raw_worker import RawWorker, raw_worker
from tests.support.suite import Suite
from tests.support.wait import wait_until

WAVES = 4
WAVE = 40
QUEUES = "queues: {calm: {}, crashing: {}}\n"
CRASHER = Submission(TASK, b"crash", level=9, lane="crash")


def waves(seed: int) -> list[list[Submission]]:
    """Jobs of all levels, most of them in a few lanes."""
    luck = random.Random(seed)

    def one(name: str) -> Submission:
        level = luck.randrange(10)
        # At its own level the crasher takes part in the turns of the lanes, and so moves them.
        return Submission(TASK, name.encode(), level=level, lane="" if level == 9 else luck.choice(["", "a", "b"]))

    return [[one(f"{wave}.{number}") for number in range(WAVE)] for wave in range(WAVES)]


async def taken(worker: RawWorker, count: int) -> list[bytes]:
    """Take and finish so many jobs, one at a time, in this order; the crasher begins, and is never heard of again."""
    order: list[bytes] = []
    while len(order) - order.count(CRASHER.payload) < count:
        await worker.send(credit=pb.Credit(slots=1))
        (job,) = await worker.jobs(1)
        order.append(payload(job))
        if payload(job) == CRASHER.payload:
            await worker.beat(job)
        else:
            await worker.finish(job)
    return order


async def test_14_a_crash_loop_of_a_lowest_level_job_leaves_the_order_of_the_others_unchanged(suite: Suite) -> None:
    await suite.scheduler(queues=QUEUES, lease_s=0.4, delivery_s=20, reconnect_grace_s=0.1, lost_leases_max=100)
    seed = random.randrange(1 << 30)
    calm: list[bytes] = []
    crashing: list[bytes] = []
    async with SchedulerClient(suite.api) as client, raw_worker(worker_port(suite)) as worker:
        await worker.attach(queues=[("calm", 1)], slots=1)
        for wave in waves(seed):
            await submit(client, wave, queue="calm")
            calm += await taken(worker, WAVE)

    async with SchedulerClient(suite.api) as client, raw_worker(worker_port(suite)) as worker:
        (name,) = await submit(client, [CRASHER], queue="crashing")
        await worker.attach(queues=[("crashing", 1)], slots=1_000)

        async def crashed(times: int) -> None:
            async def back() -> bool:
                job = await client.get(name)
                return job.state is JobState.READY and job.lost_leases >= times

            await wait_until(back, 20, what=f"crash {times} to be over")

        for crashes, wave in enumerate(waves(seed)):
            await submit(client, wave, queue="crashing")
            order = await taken(worker, WAVE // 2)
            await crashed(crashes)
            order += await taken(worker, WAVE - WAVE // 2)
            urgent = sum(job.level != CRASHER.level for job in wave)
            assert CRASHER.payload not in order[:urgent], f"seed {seed}: it was taken before more urgent jobs"
            crashing += [name for name in order if name != CRASHER.payload]
            await crashed(crashes)
            await worker.send(credit=pb.Credit(slots=1))
            (job,) = await worker.jobs(1)
            assert payload(job) == CRASHER.payload
            await worker.beat(job)
        await crashed(WAVES)
        looping = await client.get(name)

    assert crashing == calm, f"seed {seed}"
    assert (looping.failures, looping.undelivered) == (0, 0)
