"""What replicas are told: wake-ups, cancels, changes of watched jobs, timers."""

from __future__ import annotations

import pytest
from headworks_scheduler.domain.jobs import Held, Queue

from tests.integration.scheduler_store.driver import SECOND, Clock, Driver, Hear, new_job, new_jobs

ONE, TWO, THREE, TIMERS = "{hw:0}:replica:one", "{hw:0}:replica:two", "{hw:0}:replica:three", "{hw:0}:timers"
WAITERS = "{hw:0}:q:default:waiters"
WAKE = "wake default"


@pytest.fixture
def two(driver: Driver, clock: Clock) -> Driver:
    """A second replica."""
    return Driver(driver.redis, clock, replica="two")


async def test_a_claim_that_gets_less_than_it_asked_for_waits(driver: Driver) -> None:
    await driver.submit()
    assert len(await driver.claim(2)) == 1
    assert await driver.redis.smembers(WAITERS) == {b"one"}


async def test_a_claim_that_gets_all_it_asked_for_waits_no_longer(driver: Driver) -> None:
    await driver.claim()
    await driver.submit()
    await driver.redis.sadd(WAITERS, "one")
    await driver.claim()
    assert await driver.redis.smembers(WAITERS) == set()


async def test_a_submit_wakes_exactly_one_waiter(driver: Driver, two: Driver, hear: Hear) -> None:
    await driver.claim()
    await two.claim()
    async with hear(ONE, TWO) as heard:
        await driver.store.submit(new_jobs(500))
        assert [text for _, text in await heard()] == [WAKE]
    assert await driver.redis.scard(WAITERS) == 1


async def test_a_submit_to_two_queues_wakes_a_waiter_of_each(driver: Driver, two: Driver, hear: Hear) -> None:
    other = Queue("other")
    await driver.claim()
    await two.claim(queue=other)
    async with hear(ONE, TWO) as heard:
        await driver.store.submit([*new_jobs(2), *new_jobs(2, queue=other)])
        assert sorted(await heard()) == [(ONE, WAKE), (TWO, "wake other")]


async def test_without_waiters_nobody_is_told(driver: Driver, hear: Hear) -> None:
    async with hear(ONE, TWO) as heard:
        await driver.submit()
        assert await heard() == []


async def test_a_waiter_that_is_gone_is_passed_over(driver: Driver, hear: Hear) -> None:
    await driver.redis.sadd(WAITERS, "dead-1", "dead-2", "dead-3", "one")
    async with hear(ONE) as heard:
        await driver.submit()
        assert await heard() == [(ONE, WAKE)]


async def test_a_delayed_job_wakes_nobody_before_it_is_due(driver: Driver, clock: Clock, hear: Hear) -> None:
    await driver.claim()
    async with hear(ONE) as heard:
        await driver.submit(delay_us=SECOND)
        assert await heard() == []
        clock.advance(SECOND)
        await driver.store.due(0)
        assert await heard() == [(ONE, WAKE)]


async def test_a_submit_that_makes_no_job_wakes_nobody(driver: Driver, hear: Hear) -> None:
    await driver.submit("same")
    await driver.claim(2)
    async with hear(ONE) as heard:
        await driver.store.submit([new_job("same")])
        assert await heard() == []


async def test_a_claim_that_leaves_work_wakes_another_waiter_not_itself(
    driver: Driver, two: Driver, hear: Hear
) -> None:
    await driver.store.submit(new_jobs(3))
    await driver.redis.sadd(WAITERS, "one", "two")
    async with hear(ONE, TWO) as heard:
        await driver.claim(2)
        assert await heard() == [(TWO, WAKE)]
        await two.claim(1)
        assert await heard() == []


@pytest.mark.parametrize("word", ["fail", "release", "reap"])
async def test_a_job_that_comes_back_wakes_a_waiter(
    driver: Driver, two: Driver, clock: Clock, hear: Hear, word: str
) -> None:
    await driver.submit()
    lease = await driver.claim_one()
    await two.claim()
    async with hear(ONE, TWO) as heard:
        if word == "fail":
            await driver.fail(lease, retry_after_us=0)
        elif word == "release":
            await driver.release(lease)
        else:
            clock.advance(5 * SECOND)
            await driver.store.reap(0)
        assert await heard() == [(TWO, WAKE)]


async def test_a_replica_without_room_hands_the_wake_up_on(driver: Driver, two: Driver, hear: Hear) -> None:
    await two.claim()
    await driver.claim()
    async with hear(ONE, TWO) as heard:
        await driver.submit()
        ((first, _),) = await heard()
        await driver.store.handover("default")
        assert await heard() == [(TWO if first == ONE else ONE, WAKE)]


async def test_without_work_a_wake_up_is_not_handed_on(driver: Driver, hear: Hear) -> None:
    await driver.claim()
    async with hear(ONE) as heard:
        await driver.store.handover("default")
        assert await heard() == []
    assert await driver.redis.smembers(WAITERS) == {b"one"}


async def test_the_replica_that_serves_the_worker_is_told_of_a_cancel_once(
    driver: Driver, two: Driver, hear: Hear
) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    await two.heartbeat(lease)
    async with hear(ONE, TWO) as heard:
        await driver.store.cancel(0, ref)
        await driver.store.cancel(0, ref)
        assert await heard() == [(TWO, f"cancel {ref} {lease.lease_id}")]


async def test_every_watching_replica_hears_of_each_change_of_state(driver: Driver, two: Driver, hear: Hear) -> None:
    ref = await driver.submit()
    for replica in (driver, two):
        await replica.store.read(0, [ref], watch=True)
    async with hear(ONE, TWO) as heard:
        lease = await driver.claim_one()
        assert sorted(await heard()) == [(ONE, f"changed {ref}"), (TWO, f"changed {ref}")]
        await driver.complete(lease)
        assert sorted(await heard()) == [(ONE, f"changed {ref}"), (TWO, f"changed {ref}")]


@pytest.mark.parametrize("word", ["complete", "fail", "release", "reap", "cancel", "due", "claim"])
async def test_every_script_that_changes_a_job_tells_of_it(driver: Driver, clock: Clock, hear: Hear, word: str) -> None:
    ref = await driver.submit(delay_us=SECOND if word in ("due", "cancel") else 0)
    lease = await driver.claim_one() if word in ("complete", "fail", "release", "reap") else None
    await driver.store.read(0, [ref], watch=True)
    clock.advance(5 * SECOND)
    async with hear(ONE) as heard:
        if lease:
            await (driver.store.reap(0) if word == "reap" else getattr(driver, word)(lease))
        elif word == "cancel":
            await driver.store.cancel(0, ref)
        else:
            await (driver.store.due(0) if word == "due" else driver.claim())
        assert await heard() == [(ONE, f"changed {ref}")]


async def test_a_worker_that_is_asked_to_cancel_is_a_change(driver: Driver, hear: Hear) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    await driver.store.read(0, [ref], watch=True)
    async with hear(ONE) as heard:
        await driver.store.cancel(0, ref)
        assert sorted(await heard()) == [(ONE, f"cancel {ref} {lease.lease_id}"), (ONE, f"changed {ref}")]


async def test_changes_of_one_call_come_in_one_message(driver: Driver, hear: Hear) -> None:
    refs = [await driver.submit() for _ in range(3)]
    await driver.store.read(0, refs, watch=True)
    async with hear(ONE) as heard:
        await driver.claim(3)
        assert await heard() == [(ONE, " ".join(["changed", *refs]))]


async def test_only_a_heartbeat_with_progress_is_a_change(driver: Driver, hear: Hear) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    await driver.store.read(0, [ref], watch=True)
    async with hear(ONE) as heard:
        await driver.heartbeat(lease)
        assert await heard() == []
        await driver.heartbeat(Held(ref, lease.lease_id, b"half"))
        assert await heard() == [(ONE, f"changed {ref}")]


async def test_a_job_that_nobody_watches_is_not_told_of(driver: Driver, hear: Hear) -> None:
    ref = await driver.submit()
    await driver.store.read(0, [ref])
    async with hear(ONE) as heard:
        await driver.complete(await driver.claim_one())
        assert await heard() == []


async def test_a_watch_is_kept_once_a_replica_and_for_the_last_64(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit()
    for n in [*range(65), 8]:
        await Driver(driver.redis, clock, replica=f"r{n}").store.read(0, [ref], watch=True)
    assert (await driver.fields(ref))["watch"] == " ".join(f"r{number}" for number in range(1, 65))


async def test_a_finished_job_is_read_but_not_watched(driver: Driver) -> None:
    ref = await driver.submit()
    await driver.complete(await driver.claim_one())
    (fields,) = await driver.store.read(0, [ref], watch=True)
    assert fields is not None
    assert "watch" not in await driver.fields(ref)


async def test_watching_a_job_that_does_not_exist_makes_none(driver: Driver) -> None:
    assert await driver.store.read(0, ["ann/default/none"], watch=True) == [None]
    assert await driver.redis.keys() == []


async def test_a_timer_that_becomes_the_earliest_is_told(driver: Driver, clock: Clock, hear: Hear) -> None:
    async with hear(TIMERS) as heard:
        await driver.submit(delay_us=2 * SECOND)
        assert await heard() == [(TIMERS, str(clock.now_us + 2 * SECOND))]
        await driver.submit(delay_us=3 * SECOND)
        assert await heard() == []
        await driver.submit(delay_us=SECOND)
        assert await heard() == [(TIMERS, str(clock.now_us + SECOND))]


async def test_a_back_off_that_becomes_the_earliest_timer_is_told(driver: Driver, clock: Clock, hear: Hear) -> None:
    await driver.submit()
    async with hear(TIMERS) as heard:
        await driver.fail(await driver.claim_one(), retry_after_us=SECOND)
        assert await heard() == [(TIMERS, str(clock.now_us + SECOND))]
