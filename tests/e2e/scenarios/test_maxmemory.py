"""Redis at `maxmemory`: new jobs are refused with a reason, work that is there drains, and then all goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from headworks.worker.v1 import session_pb2 as pb
from headworks_client import JobState, SchedulerClient
from headworks_core.errors import Reason, ResourceExhausted, ServiceError
from headworks_core.store import redis_client
from headworks_devkit.backends import KafkaBackend
from headworks_devkit.backends.valkey import valkey

from tests.e2e.scenarios.jobs import delivered, looked_at, some, submit, worker_port
from tests.support.health import is_ready
from tests.support.raw_worker import failed, raw_worker, released
from tests.support.suite import running_suite
from tests.support.told import complete, relayed, told


async def refusals(client: SchedulerClient, count: int) -> set[Reason | str]:
    """Why each of `count` submits in one call, and one by itself, is refused."""
    outcomes = await client.submit_many(some(count))
    with pytest.raises(ResourceExhausted) as alone:
        await client.submit(some(1)[0])
    return {outcome.reason if isinstance(outcome, ServiceError) else "accepted" for outcome in [*outcomes, alone.value]}


@pytest.mark.kafka
async def test_a_full_redis_refuses_submits_and_drains_then_accepts_again(kafka: KafkaBackend, tmp_path: Path) -> None:
    topic = "full.jobs.v1"
    async with (
        valkey() as server,
        redis_client(server.url, timeout_s=10) as redis,
        running_suite(server, kafka, tmp_path) as suite,
    ):
        scheduler = await suite.scheduler(kafka_topic=topic, lease_s=20, delivery_s=20, reconnect_grace_s=0.1)
        async with SchedulerClient(suite.api) as client:
            names = await submit(client, some(6))
            async with raw_worker(worker_port(suite)) as worker:
                await worker.attach(slots=6, credit=4)
                done, retried, dropped, kept = await worker.jobs(4)
                keys = await redis.dbsize()
                await redis.config_set("maxmemory", 1)

                assert await refusals(client, 3) == {Reason.STORE_FULL}
                assert await redis.dbsize() == keys

                await worker.beat(kept)
                await delivered(redis, kept)
                assert not (await worker.finish(done)).lost
                assert not (await worker.finish(retried, outcome=failed)).lost
                await client.cancel(dropped.job)
                assert not (await worker.finish(dropped, outcome=released)).lost
                assert (await client.cancel(names[5])).state is JobState.CANCELLED
                await relayed(redis)

                await scheduler.kill()
        await suite.restart("scheduler-1")  # on the full server
        assert await is_ready(suite.api)
        async with SchedulerClient(suite.api) as client, raw_worker(worker_port(suite)) as worker:
            assert await refusals(client, 3) == {Reason.STORE_FULL}
            await worker.attach(slots=6, credit=2)
            rest = await worker.jobs(2)
            assert not (await worker.finish(kept, *rest)).lost
            drained = await looked_at(client, names)

            await redis.config_set("maxmemory", 0)
            more = await submit(client, some(3))
            await worker.send(credit=pb.Credit(slots=3))
            assert not (await worker.finish(*await worker.jobs(3))).lost
            await relayed(redis)
            ended = await looked_at(client, more)
    events = await told(kafka.bootstrap, topic)

    states = dict(zip([job.name for job in drained], [job.state for job in drained], strict=True))
    cancelled = {dropped.job, names[5]}
    assert {name for name, state in states.items() if state is JobState.CANCELLED} == cancelled
    assert {name for name, state in states.items() if state is JobState.SUCCEEDED} == set(names) - cancelled
    assert {job.state for job in ended} == {JobState.SUCCEEDED}
    assert set(events) == {*names, *more}
    assert all(complete(events[name]) for name in events)
