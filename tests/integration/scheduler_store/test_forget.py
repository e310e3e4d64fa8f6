"""Finished jobs leave after their retention, or when there are too many."""

from __future__ import annotations

from headworks_scheduler.domain.jobs import Queue, Submitted

from tests.integration.scheduler_store import contents
from tests.integration.scheduler_store.driver import QUEUE, SECOND, Clock, Driver, new_job


async def finish(driver: Driver, count: int, queue: Queue = QUEUE) -> list[str]:
    """So many jobs that succeeded one after the other."""
    refs = []
    for _ in range(count):
        refs.append(await driver.submit(queue=queue))
        await driver.complete(await driver.claim_one(queue=queue))
        driver.clock.advance(1)
    return refs


async def left(driver: Driver, refs: list[str]) -> list[str]:
    """Those that still exist."""
    return [ref for ref in refs if (await driver.store.read(0, [ref]))[0]]


async def test_a_finished_job_is_kept_for_its_retention(driver: Driver, clock: Clock) -> None:
    refs = await finish(driver, 1)
    clock.advance(3_600 * SECOND - 2)
    assert await driver.store.forget(0) == 0
    assert await left(driver, refs) == refs
    clock.advance(1)
    assert await driver.store.forget(0) == 1
    assert await left(driver, refs) == []


async def test_nothing_of_a_forgotten_job_is_left_but_its_events(driver: Driver, clock: Clock) -> None:
    await finish(driver, 1)
    await driver.store.cancel(0, await driver.submit(delay_us=SECOND, expire_us=SECOND))
    await driver.submit(expire_us=SECOND)
    clock.advance(7_200 * SECOND)
    await driver.store.due(0)
    clock.advance(7_200 * SECOND)
    assert await driver.store.forget(0) == 3
    assert (await contents.stored(driver.redis)).keys() == {"{hw:0}:outbox", "{hw:0}:seq", "{hw:0}:lease"}


async def test_the_oldest_go_when_there_are_too_many(driver: Driver, clock: Clock) -> None:
    capped = Driver(driver.redis, clock, finished_max=2)
    refs = await finish(capped, 5)
    assert await capped.store.forget(0) == 3
    assert await left(capped, refs) == refs[3:]


async def test_no_more_are_forgotten_than_asked_for(driver: Driver, clock: Clock) -> None:
    refs = await finish(driver, 3)
    clock.advance(7_200 * SECOND)
    assert await driver.store.forget(0, limit=2) == 2
    assert await left(driver, refs) == refs[2:]


async def test_a_job_that_is_not_finished_is_never_forgotten(driver: Driver, clock: Clock) -> None:
    refs = [await driver.submit(), await driver.submit(delay_us=SECOND), await driver.submit()]
    await driver.claim_one()
    clock.advance(366 * 86_400 * SECOND)
    assert await driver.store.forget(0) == 0
    assert await left(driver, refs) == refs


async def test_a_forgotten_id_may_be_used_again(driver: Driver, clock: Clock) -> None:
    await driver.submit("same")
    await driver.complete(await driver.claim_one())
    clock.advance(3_600 * SECOND)
    await driver.store.forget(0)
    assert await driver.store.submit([new_job("same", spec=b"other")]) == [Submitted.CREATED]


async def test_a_late_result_of_a_forgotten_job_is_lost(driver: Driver, clock: Clock) -> None:
    await driver.submit()
    lease = await driver.claim_one()
    await driver.complete(lease)
    clock.advance(3_600 * SECOND)
    await driver.store.forget(0)
    assert not await driver.complete(lease)


async def test_a_queue_may_keep_its_jobs_for_another_time(driver: Driver, clock: Clock) -> None:
    brief, long = Queue("brief", retention_us=SECOND), Queue("long", retention_us=7_200 * SECOND)
    other = Driver(driver.redis, clock, queues=[brief, long])
    refs = [(await finish(other, 1, queue))[0] for queue in (brief, QUEUE, long)]
    clock.advance(SECOND)
    assert await other.store.forget(0) == 1
    assert await left(other, refs) == refs[1:]
    clock.advance(3_600 * SECOND)
    assert await other.store.forget(0) == 1
    assert await left(other, refs) == refs[2:]


async def test_a_new_retention_holds_for_jobs_that_have_finished_before(driver: Driver, clock: Clock) -> None:
    refs = await finish(driver, 2)
    clock.advance(SECOND)
    told = Driver(driver.redis, clock, queues=[Queue("default", retention_us=SECOND)])
    assert await told.store.forget(0) == 2
    assert await left(driver, refs) == []


async def test_a_queue_keeps_no_more_than_its_maximum_and_leaves_others_alone(driver: Driver, clock: Clock) -> None:
    capped = Queue("capped", max_finished=2)
    other = Driver(driver.redis, clock, queues=[capped])
    others = await finish(other, 4)
    refs = await finish(other, 5, capped)
    assert await other.store.forget(0, limit=2) == 2
    assert await left(other, refs) == refs[2:]
    assert await other.store.forget(0) == 1
    assert await left(other, refs) == refs[3:]
    assert await left(other, others) == others


async def test_the_oldest_of_all_queues_go_when_a_cell_has_too_many(driver: Driver, clock: Clock) -> None:
    capped = Driver(driver.redis, clock, finished_max=3)
    refs = []
    for name in ("b", "a", "a", "c", "b", "c", "a"):
        refs += await finish(capped, 1, Queue(name))
    assert await capped.store.forget(0, limit=1) == 1
    assert await left(capped, refs) == refs[1:]
    assert await capped.store.forget(0) == 3
    assert await left(capped, refs) == refs[4:]


async def test_an_entry_of_a_job_that_has_not_ended_never_deletes_it(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit()
    await driver.redis.zadd("{hw:0}:q:default:finished", {ref: 1})
    await driver.redis.zadd("{hw:0}:ended", {"default": 0})
    await driver.store.forget(0)
    assert await left(driver, [ref]) == [ref]
    assert not await driver.redis.exists("{hw:0}:q:default:finished")


async def test_jobs_that_schema_1_0_finished_are_forgotten_too(driver: Driver, clock: Clock) -> None:
    (ref,) = await finish(driver, 1)
    await driver.redis.delete("{hw:0}:q:default:finished", "{hw:0}:q:default:jobs:ann", "{hw:0}:ended")
    await driver.redis.zadd("{hw:0}:finished", {ref: clock.now_us + 10})
    assert await driver.store.forget(0) == 0
    clock.advance(10)
    assert await driver.store.forget(0) == 1
    assert await left(driver, [ref]) == []
    assert not await driver.redis.exists("{hw:0}:finished")
