"""Dead and cancelled jobs begin again, and nobody from before has a say."""

from __future__ import annotations

import pytest
from headworks_core.cells import Meta
from headworks_core.errors import Reason, ResourceExhausted
from headworks_scheduler.domain.jobs import Filter, Position, Queue, Redriven, Release, State
from headworks_scheduler.store.redrives import RedriveStore
from redis.asyncio import Redis

from tests.integration.scheduler_store.driver import (
    QUEUE,
    SECOND,
    START_US,
    Clock,
    Driver,
    Hear,
    completion,
    failed,
    new_job,
    ref_of,
)


@pytest.fixture
def redrives(redis: Redis, clock: Clock) -> RedriveStore:
    """On the same store and clock as the driver."""
    return RedriveStore(redis, Meta(), outbox_max=1_000, now_us=clock)


async def bury(driver: Driver, tail: str = "", *, queue: Queue = QUEUE, tenant: str = "ann", task: str = "task") -> str:
    """A dead letter; its tail."""
    ref = await driver.submit(tail, queue=queue, tenant=tenant, task=task)
    await driver.fail(await driver.claim_one(queue=queue), retryable=False)
    return ref.rpartition("/")[2]


async def test_a_dead_job_runs_again_with_all_its_attempts(driver: Driver, redrives: RedriveStore) -> None:
    tail = await bury(driver)
    ref = f"ann/default/{tail}"
    assert await redrives.redrive(QUEUE, "ann", [tail]) == [Redriven.DONE]
    assert await driver.state(ref) is State.READY
    assert await driver.numbers(ref, "gen", "failures", "lost", "attempts") == [2, 0, 0, 1]
    assert await driver.fail(await driver.claim_one(), retry_after_us=0)
    assert await driver.complete(await driver.claim_one())
    assert await driver.events(ref) == ["dead", "retrying", "succeeded"]
    events = await driver.outbox()
    assert [(event[b"seq"], event[b"gen"], event[b"attempt"]) for event in events] == [
        (b"1", b"1", b"1"),
        (b"2", b"2", b"2"),
        (b"3", b"2", b"3"),
    ]


async def test_a_poisonous_job_may_lose_as_many_leases_again(driver: Driver, redrives: RedriveStore) -> None:
    ref = await driver.submit()
    for generation in (1, 2):
        for _ in range(3):
            await driver.lose(await driver.claim_one())
        assert await driver.state(ref) is State.DEAD
        assert await driver.numbers(ref, "lost") == [3]
        if generation == 1:
            await redrives.redrive(QUEUE, "ann", [ref.rpartition("/")[2]])


async def test_an_expired_job_that_is_redriven_expires_no_more(driver: Driver, redrives: RedriveStore) -> None:
    ref = await driver.submit(expire_us=SECOND)
    driver.clock.advance(SECOND)
    await driver.store.due(0)
    assert await driver.state(ref) is State.DEAD
    await redrives.redrive(QUEUE, "ann", [ref.rpartition("/")[2]])
    driver.clock.advance(100 * SECOND)
    assert await driver.store.due(0) == (0, -1)
    await driver.claim_one()


async def test_a_cancelled_job_is_redriven_and_nobody_asks_to_cancel_it_any_more(
    driver: Driver, redrives: RedriveStore
) -> None:
    ref = await driver.submit()
    held = await driver.claim_one()
    await driver.store.cancel(0, ref)
    await driver.release(held)
    assert await driver.state(ref) is State.CANCELLED
    assert await redrives.redrive(QUEUE, "ann", [ref.rpartition("/")[2]]) == [Redriven.DONE]
    await driver.release(await driver.claim_one())
    assert await driver.state(ref) is State.READY


async def test_a_worker_of_an_earlier_generation_changes_nothing(driver: Driver, redrives: RedriveStore) -> None:
    ref = await driver.submit()
    old = await driver.claim_one()
    await driver.fail(old, retryable=False)
    await redrives.redrive(QUEUE, "ann", [ref.rpartition("/")[2]])
    for repeated in (True, False):
        assert await driver.store.fail(0, [failed(old)]) == [repeated]
        assert await driver.store.complete(0, [completion(old)]) == [repeated]
        assert await driver.store.release(0, [Release(old.ref, old.lease_id)]) == [repeated]
        assert await driver.state(ref) is (State.READY if repeated else State.LEASED)
        if repeated:
            new = await driver.claim_one()
            assert new.lease_id > old.lease_id


async def test_a_redriven_job_is_last_in_its_lane(driver: Driver, redrives: RedriveStore) -> None:
    tail = await bury(driver)
    other = await driver.submit()
    await redrives.redrive(QUEUE, "ann", [tail])
    assert [ref_of(job) for job in await driver.claim(2)] == [other, f"ann/default/{tail}"]


async def test_others_are_left_as_they_are(driver: Driver, redrives: RedriveStore) -> None:
    done = await driver.submit()
    await driver.complete(await driver.claim_one())
    ready = await driver.submit()
    refs = [done, ready, "ann/default/none", "ann/default/none"]
    tails = [ref.rpartition("/")[2] for ref in refs]
    assert await redrives.redrive(QUEUE, "ann", tails) == [Redriven.NOT_REDRIVABLE] * 2 + [Redriven.MISSING] * 2
    assert await driver.numbers(ready, "gen") == [0]


async def test_a_waiting_replica_is_woken(driver: Driver, redrives: RedriveStore, hear: Hear) -> None:
    tail = await bury(driver)
    await driver.claim()
    async with hear("{hw:0}:replica:one") as heard:
        await redrives.redrive(QUEUE, "ann", [tail])
        assert await heard() == [("{hw:0}:replica:one", "wake default")]


async def test_the_bounds_of_the_queue_hold(driver: Driver, redrives: RedriveStore) -> None:
    small = Queue("small", max_size=3, max_size_per_tenant=2)
    anns = [await bury(driver, queue=small) for _ in range(3)]
    bobs = [await bury(driver, queue=small, tenant="bob") for _ in range(2)]
    full = [Redriven.DONE] * 2 + [Redriven.TENANT_FULL]
    assert await redrives.redrive(small, "ann", anns) == full
    assert await redrives.redrive(small, "bob", bobs) == [Redriven.DONE, Redriven.QUEUE_FULL]
    page = await redrives.redrive_dead(small, "ann", Filter(), limit=500)
    assert (page.tails, page.stopped) == ([], Redriven.QUEUE_FULL)


async def test_a_full_outbox_refuses(driver: Driver, redis: Redis, clock: Clock) -> None:
    tail = await bury(driver)
    strict = RedriveStore(redis, Meta(), outbox_max=1, now_us=clock)
    assert await strict.redrive(QUEUE, "ann", [tail]) == [Redriven.OUTBOX_FULL]


async def test_a_full_server_refuses_before_anything_has_changed(driver: Driver, redrives: RedriveStore) -> None:
    tail = await bury(driver)
    await driver.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(ResourceExhausted) as caught:
            await redrives.redrive(QUEUE, "ann", [tail])
        with pytest.raises(ResourceExhausted):
            await redrives.redrive_dead(QUEUE, "ann", Filter(), limit=1)
    finally:
        await driver.redis.config_set("maxmemory", 0)
    assert caught.value.reason is Reason.STORE_FULL
    assert await driver.state(f"ann/default/{tail}") is State.DEAD
    assert await redrives.redrive(QUEUE, "ann", [tail]) == [Redriven.DONE]


async def test_dead_letters_go_back_in_the_order_of_their_death_in_bounded_calls(
    driver: Driver, redis: Redis, clock: Clock
) -> None:
    redrives = RedriveStore(redis, Meta(), outbox_max=1_000, scan_max=4, now_us=clock)
    tails = []
    for n in range(10):
        tails.append(await bury(driver, task="odd" if n % 2 else "even"))
        clock.advance(1)
    await bury(driver, tenant="bob", task="odd")
    found: list[list[str]] = []
    after, cutoff = None, 0
    while True:
        page = await redrives.redrive_dead(QUEUE, "ann", Filter(task="odd"), limit=3, cutoff_us=cutoff, after=after)
        found.append(page.tails)
        after, cutoff = page.after, page.cutoff_us
        if after is None:
            break
    assert [len(some) for some in found] == [2, 2, 1]
    assert [tail for some in found for tail in some] == tails[1::2]


async def test_a_job_that_dies_again_meanwhile_is_not_met_twice(
    driver: Driver, redrives: RedriveStore, clock: Clock
) -> None:
    tails = []
    for _ in range(4):
        tails.append(await bury(driver))
        clock.advance(1)
    met: list[str] = []
    after: Position | None = None
    cutoff = 0
    for _ in range(10):
        page = await redrives.redrive_dead(QUEUE, "ann", Filter(), limit=1, cutoff_us=cutoff, after=after)
        met += page.tails
        clock.advance(1)
        for tail in page.tails:
            await driver.fail(await driver.claim_one(), retryable=False)
            assert await driver.state(f"ann/default/{tail}") is State.DEAD
        after, cutoff = page.after, page.cutoff_us
        if after is None:
            break
    assert met == tails
    assert cutoff == START_US + 4


async def test_a_redriven_job_keeps_its_id(driver: Driver, redrives: RedriveStore) -> None:
    tail = await bury(driver, "mine")
    await redrives.redrive(QUEUE, "ann", [tail])
    assert [int(code) for code in await driver.store.submit([new_job("mine")])] == [1]
