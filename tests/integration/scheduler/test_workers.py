"""AdminService.ListWorkers, as several replicas keep it."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import grpc
import pytest
from headworks.scheduler.v1 import admin_service_pb2 as pb
from headworks.scheduler.v1.admin_service_pb2_grpc import AdminServiceStub
from headworks.worker.v1 import session_pb2
from headworks_core.cells import Meta
from headworks_scheduler.store.workers import Report, WorkerStore
from headworks_scheduler.workers import Presence, WorkerRegistry
from redis.asyncio import Redis

from tests.integration.scheduler.conftest import Scheduler, Start
from tests.support.proxy import proxy
from tests.support.raw_worker import failed, raw_worker, released
from tests.support.suite import Suite
from tests.support.wait import wait_until

ACTIVE, DRAINING, GONE, LOST = (
    pb.WORKER_STATE_ACTIVE,
    pb.WORKER_STATE_DRAINING,
    pb.WORKER_STATE_GONE,
    pb.WORKER_STATE_LOST,
)
HOUR_US = 3_600_000_000


async def workers_at(target: str, *, queue: str = "", live_only: bool = False) -> dict[str, pb.Worker]:
    """What ListWorkers says, by id."""
    async with grpc.aio.insecure_channel(target) as channel:
        request = pb.ListWorkersRequest(queue=queue, live_only=live_only)
        response = await AdminServiceStub(channel).ListWorkers(request, timeout=5)
    ids = [worker.worker for worker in response.workers]
    assert ids == sorted(ids)
    return {worker.worker: worker for worker in response.workers}


async def workers(scheduler: Scheduler, *, queue: str = "", live_only: bool = False) -> dict[str, pb.Worker]:
    """The same, asked of a scheduler in this process."""
    return await workers_at(f"127.0.0.1:{scheduler.api}", queue=queue, live_only=live_only)


async def until_state(scheduler: Scheduler, worker: str, state: pb.WorkerState, timeout_s: float = 10) -> pb.Worker:
    """Wait until a worker is said to be in this state."""

    async def reached() -> bool:
        try:
            found = await workers(scheduler)
        except grpc.aio.AioRpcError:  # the store is away
            return False
        return worker in found and found[worker].state == state

    await wait_until(reached, timeout_s, what=f"{worker} to be {pb.WorkerState.Name(state)}")
    return (await workers(scheduler))[worker]


async def test_a_worker_is_shown_with_what_it_said_and_did(scheduler: Scheduler) -> None:
    async with raw_worker(scheduler.worker) as raw:
        began = time.time()
        await raw.attach(worker="w1", queues=[("default", 1), ("other", 2)], slots=7, credit=5, tasks=["a.b", "c"])
        for _ in range(5):
            await scheduler.submit()
        jobs = await raw.jobs(5)
        await raw.finish(jobs[0], jobs[1])
        await raw.finish(jobs[2], outcome=failed)
        await raw.finish(jobs[3], outcome=released)
        await raw.send(draining=session_pb2.Draining())

        seen = await until_state(scheduler, "w1", DRAINING)

    assert list(seen.queues) == ["default", "other"]
    assert list(seen.tasks) == ["a.b", "c"]
    assert seen.slots == 7
    assert seen.replica
    assert (seen.held, seen.succeeded, seen.failed, seen.released) == (1, 2, 1, 1)
    assert abs(seen.attach_time.ToMicroseconds() / 1e6 - began) < 5
    assert 0 <= seen.silent.ToMicroseconds() < 10e6


async def test_workers_of_all_replicas_are_listed_by_any_of_them_and_filtered(start: Start) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(start(replica="a"))
        second = await stack.enter_async_context(start(replica="b"))
        one = await stack.enter_async_context(raw_worker(first.worker))
        two = await stack.enter_async_context(raw_worker(second.worker))
        await one.attach(worker="one", queues=[("default", 1)])
        await two.attach(worker="two", queues=[("other", 1)])
        await until_state(first, "one", ACTIVE)
        await until_state(first, "two", ACTIVE)

        everywhere = await workers(second)
        of_other = await workers(first, queue="other")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await workers(first, queue="nowhere")
        await one.leave()
        await until_state(second, "one", GONE)
        live = await workers(second, live_only=True)

    assert {name: worker.replica for name, worker in everywhere.items()} == {"one": "a", "two": "b"}
    assert list(of_other) == ["two"]
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert list(live) == ["two"]


async def test_a_worker_that_breaks_off_is_lost_and_comes_back_elsewhere(start: Start) -> None:
    async with start(replica="a") as first, start(replica="b") as second:
        async with raw_worker(first.worker) as raw:
            await raw.attach(worker="w1")
            await until_state(second, "w1", ACTIVE)
        await until_state(second, "w1", LOST)  # its call was cancelled
        async with raw_worker(second.worker) as raw:
            await raw.attach(worker="w1")
            back = await until_state(first, "w1", ACTIVE)

    assert back.replica == "b"


async def test_the_end_of_an_older_session_does_not_hide_a_newer_one(start: Start) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(start(replica="a"))
        second = await stack.enter_async_context(start(replica="b"))
        older = await stack.enter_async_context(raw_worker(first.worker))
        newer = await stack.enter_async_context(raw_worker(second.worker))
        witness = await stack.enter_async_context(raw_worker(first.worker))
        await older.attach(worker="w1")
        await until_state(first, "w1", ACTIVE)
        await newer.attach(worker="w1")
        await wait_until(lambda: _served_by(first, "w1", "b"), 10, what="b to serve it")
        await older.leave()
        await witness.attach(worker="w2")  # told after the end of the older session
        await until_state(second, "w2", ACTIVE)

        assert (await workers(second))["w1"].state == ACTIVE


async def _served_by(scheduler: Scheduler, worker: str, replica: str) -> bool:
    return (await workers(scheduler))[worker].replica == replica


async def test_workers_of_a_killed_replica_are_lost_unless_another_serves_them(suite: Suite) -> None:
    killed = await suite.scheduler("one", lease_s=0.9)
    await suite.worker("follows", tasks="tests.e2e.tasks")  # knows only the first so far
    await suite.worker("alone", tasks="tests.e2e.tasks")
    survivor = await suite.scheduler("two", lease_s=0.9)
    api = suite.api.removeprefix("ipv4:").split(",")[-1]

    async def states() -> dict[str, tuple[str, str]]:
        found = await workers_at(api)
        return {name: (pb.WorkerState.Name(each.state)[13:], each.replica) for name, each in found.items()}

    async def are(expected: dict[str, tuple[str, str]]) -> bool:
        return await states() == expected

    await wait_until(lambda: are({"follows": ("ACTIVE", "one"), "alone": ("ACTIVE", "one")}), 10, what="both at one")
    await killed.kill()
    await wait_until(lambda: are({"follows": ("LOST", "one"), "alone": ("LOST", "one")}), 15, what="both lost")
    async with raw_worker(int(survivor_port(suite))) as raw:
        await raw.attach(worker="follows")
        expected = {"follows": ("ACTIVE", "two"), "alone": ("LOST", "one")}
        await wait_until(lambda: are(expected), 10, what="one of them back")
    assert survivor.running


def survivor_port(suite: Suite) -> str:
    """The worker port of the scheduler that was started last."""
    return suite._worker_targets[-1].rpartition(":")[2]


async def test_what_happens_while_the_store_is_away_is_told_when_it_is_back(start: Start, valkey_url: str) -> None:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(proxy(valkey_url.removeprefix("redis://").partition("/")[0]))
        behind = start(redis_url=f"redis://{redis.address}/0", redis_timeout_s=0.5)
        scheduler = await stack.enter_async_context(behind)
        leaves = await stack.enter_async_context(raw_worker(scheduler.worker))
        stays = await stack.enter_async_context(raw_worker(scheduler.worker))
        await leaves.attach(worker="leaves")
        await stays.attach(worker="stays")
        await until_state(scheduler, "leaves", ACTIVE)
        redis.refuse()
        redis.cut()
        await leaves.leave()
        await redis.accept()

        await until_state(scheduler, "leaves", GONE)
        await stays.beat()
        await until_state(scheduler, "stays", ACTIVE)


class TestStore:
    """The index of workers, on a clock of the test's own."""

    @pytest.fixture
    def store(self, redis: Redis) -> WorkerStore:
        """Keeps three workers for an hour."""
        self.now_us = 1_700_000_000_000_000
        return WorkerStore(
            redis, Meta(cells=1, events="none"), "r1", keep_us=HOUR_US, workers_max=3, now_us=lambda: self.now_us
        )

    @staticmethod
    def report(worker: str, kind: str = "new", session: str = "s1", held: int = 0) -> Report:
        """A report with some numbers."""
        return Report(kind, worker, session, ACTIVE, b"hello", 1_000, 2_000, held, 3, 2, 1)

    async def test_what_was_told_is_read(self, store: WorkerStore) -> None:
        assert await store.report([self.report("w", held=4)]) == [True]
        self.now_us += 10

        (known,) = await store.read()
        assert known == ("w", 10, "r1", ACTIVE, b"hello", self.now_us - 10 - 1_000, 2_010, 4, 3, 2, 1)

    async def test_news_of_an_older_session_changes_nothing(self, store: WorkerStore) -> None:
        await store.report([self.report("w"), self.report("w", session="s2", held=2)])
        assert (
            await store.report([self.report("w", "more", "s1", held=9), self.report("w", "again", "s1")]) == [True] * 2
        )

        (known,) = await store.read()
        assert known.held == 2

    async def test_the_store_says_whom_it_does_not_know(self, store: WorkerStore) -> None:
        assert await store.report([self.report("w", "more"), self.report("x", "again")]) == [False, True]
        assert [known.worker for known in await store.read()] == ["x"]

    async def test_a_worker_is_forgotten_after_an_hour(self, store: WorkerStore, redis: Redis) -> None:
        await store.report([self.report("old")])
        self.now_us += HOUR_US
        await store.report([self.report("new")])

        assert [known.worker for known in await store.read()] == ["new"]
        assert await redis.exists("{hw:0}:worker:old") == 0

    async def test_the_longest_silent_beyond_the_bound_go(self, store: WorkerStore, redis: Redis) -> None:
        for number in range(5):
            self.now_us += 1
            await store.report([self.report(f"w{number}")])

        assert [known.worker for known in await store.read()] == ["w2", "w3", "w4"]
        assert len(await redis.keys("*")) == 4

    async def test_more_than_a_batch_is_told_and_read(self, redis: Redis) -> None:
        store = WorkerStore(redis, Meta(cells=1, events="none"), "r", keep_us=HOUR_US, workers_max=5_000)
        ids = [f"w{number:04}" for number in range(1_201)]

        assert await store.report([self.report(id_) for id_ in ids]) == [True] * len(ids)
        assert [known.worker for known in await store.read()] == ids

    async def test_a_worker_that_was_forgotten_is_told_anew(self, store: WorkerStore, redis: Redis) -> None:
        registry = WorkerRegistry(store, "r1", period_s=5)
        presence = Presence("w", ["default"], ["t" * 200] * 20, 4, {}, heard=0.0)
        registry.attached(presence)
        await registry.report()
        await redis.flushall()
        await registry.report(full=True)
        before = await registry.list_workers("", live_only=False)
        await registry.report(full=True)

        (seen,) = await registry.list_workers("default", live_only=True)
        assert before == []
        assert (seen.worker, seen.slots, len(seen.tasks)) == ("w", 4, 10)  # names of tasks are cut at 2,000 characters
