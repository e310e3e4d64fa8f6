"""Row 21: Kafka is away for the middle of a run, for longer than every timeout; or what it is sent is swallowed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from headworks_client import Job, JobState, SchedulerClient
from headworks_core.errors import Reason, ResourceExhausted
from headworks_devkit.backends import KafkaBackend
from headworks_devkit.backends.kafka_apache import apache_kafka
from headworks_devkit.ports import free_port
from redis.asyncio import Redis

from tests.e2e.scenarios.flaky import flaky
from tests.support.proxy import proxy
from tests.support.suite import Suite
from tests.support.told import Told, complete, relayed, told
from tests.support.wait import wait_until

TOPIC = "scenario21.jobs.v1"
BATCH = 50
OUTBOX_MAX = 1_000
TIMEOUT_S = 2.0
AWAY_S = 6 * TIMEOUT_S
"""Longer than anything the relay waits for: a batch (TIMEOUT_S), a request (a third of that), a pause (5 s)."""


@contextmanager
def away(kafka: KafkaBackend) -> Iterator[None]:
    """The broker accepts connections, as its kernel does, and says nothing."""
    if kafka.pid is None:
        pytest.skip("the broker is not ours to stop")
    os.kill(kafka.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(kafka.pid, signal.SIGCONT)


class Run:
    """Batches of jobs, a fifth of which fail at first."""

    def __init__(self, client: SchedulerClient) -> None:
        self.names: list[str] = []
        self.twice: set[str] = set()
        self._client = client
        self._numbers = count()

    async def batch(self) -> Reason | None:
        """Submit one and wait for its end; or why it was refused, which is for all of it."""
        fails = [number % 5 == 0 for number in range(BATCH)]
        jobs = [flaky.submission(number=next(self._numbers), fails=first) for first in fails]
        outcomes = await self._client.submit_many(jobs)
        refused = {outcome.reason for outcome in outcomes if isinstance(outcome, ResourceExhausted)}
        if refused:
            (reason,) = refused
            assert all(isinstance(outcome, ResourceExhausted) for outcome in outcomes)
            return reason
        names = [outcome.name for outcome in outcomes if isinstance(outcome, Job)]
        assert len(names) == BATCH
        async with asyncio.timeout(20):
            ends = [job.state async for job in self._client.watch(names, terminal_only=True)]
        assert set(ends) == {JobState.SUCCEEDED}
        self.names += names
        self.twice.update(name for name, first in zip(names, fails, strict=True) if first)
        return None

    async def batches(self, number: int) -> None:
        """So many, none refused."""
        for _ in range(number):
            assert await self.batch() is None


@pytest.mark.kafka
async def test_21_kafka_away_for_longer_than_every_timeout_costs_nothing_but_delay(suite: Suite, redis: Redis) -> None:
    assert suite.kafka is not None
    await suite.scheduler(kafka_topic=TOPIC, kafka_timeout_s=TIMEOUT_S, outbox_max=OUTBOX_MAX)
    await suite.worker(tasks="tests.e2e.scenarios.flaky")
    async with SchedulerClient(suite.api) as client:
        run = Run(client)
        await run.batches(6)
        await relayed(redis)
        with away(suite.kafka):
            left = time.monotonic()
            while (refused := await run.batch()) is None:
                assert await redis.xlen("{hw:0}:outbox") < OUTBOX_MAX + 2 * BATCH
            accepted_while_away = len(run.names) - 6 * BATCH
            await asyncio.sleep(AWAY_S - (time.monotonic() - left))
            assert (refused, await run.batch()) == (Reason.OUTBOX_FULL, Reason.OUTBOX_FULL)
            with pytest.raises(ResourceExhausted) as alone:
                await flaky.submit(number=0, fails=False)
            assert (alone.value.reason, alone.value.retry_after_us) == (Reason.OUTBOX_FULL, 5_000_000)

        async def accepted() -> bool:
            return await run.batch() is None

        await wait_until(accepted, 40, what="submits to be accepted again", period_s=0.2)
        await run.batches(5)
        await relayed(redis)
        assert await redis.exists("{hw:0}:outbox:aside") == 0
    events = await told(suite.kafka.bootstrap, TOPIC)

    assert accepted_while_away >= OUTBOX_MAX * 0.8  # a job in five has two events
    assert set(events) == set(run.names)
    assert [name for name in events if not complete(events[name])] == []
    both = [Told(1, "retrying"), Told(2, "succeeded")]
    assert {name for name in events if events[name] == both} == run.twice
    assert any("relay.interrupted" in line for line in suite.logs["scheduler-1"]), "it was away for too short a time"


@pytest.mark.kafka
async def test_21_events_swallowed_on_their_way_to_kafka_are_sent_again(suite: Suite, redis: Redis) -> None:
    """A broker that is stopped still has in its kernel's buffers what it was sent; here nothing of it is left."""
    assert suite.kafka is not None
    port = free_port()
    async with (
        proxy(f"127.0.0.1:{port}") as between,
        apache_kafka(second_listener=(port, between.port)) as kafka,
    ):
        suite.kafka = KafkaBackend(between.address, kafka.kind, kafka.name)
        await suite.scheduler(kafka_topic=TOPIC, kafka_timeout_s=TIMEOUT_S)
        await suite.worker(tasks="tests.e2e.scenarios.flaky")
        async with SchedulerClient(suite.api) as client:
            run = Run(client)
            await run.batches(2)
            await relayed(redis)
            between.stall("up", drop=True)
            await run.batches(4)

            async def interrupted() -> bool:
                return any("relay.interrupted" in line for line in suite.logs["scheduler-1"])

            await wait_until(interrupted, 20, what="the relay to give up what was swallowed")
            await between.clear()
            await run.batches(2)
            await relayed(redis)
        events = await told(kafka.bootstrap, TOPIC)
        assert set(events) == set(run.names)
        assert [name for name in events if not complete(events[name])] == []
