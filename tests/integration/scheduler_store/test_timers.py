"""Delays and expiry."""

from __future__ import annotations

import pytest
from headworks_scheduler.domain.jobs import State

from tests.integration.scheduler_store.driver import SECOND, Clock, Driver, Hear, new_jobs

TIMERS = "{hw:0}:timers"


async def test_a_delayed_job_is_ready_when_its_time_has_come(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit(delay_us=SECOND)
    assert await driver.store.due(0) == (0, SECOND)
    assert await driver.claim() == []
    clock.advance(SECOND)
    assert await driver.store.due(0) == (1, -1)
    assert (await driver.claim_one()).ref == ref


async def test_a_delayed_job_takes_its_place_when_it_becomes_ready(driver: Driver, clock: Clock) -> None:
    delayed = await driver.submit(delay_us=SECOND)
    at_once = await driver.submit()
    clock.advance(SECOND)
    await driver.store.due(0)
    assert [(await driver.claim_one()).ref, (await driver.claim_one()).ref] == [at_once, delayed]


async def test_jobs_that_are_due_together_become_ready_in_the_order_of_their_times(
    driver: Driver, clock: Clock
) -> None:
    later = await driver.submit(delay_us=2 * SECOND)
    sooner = await driver.submit(delay_us=SECOND)
    clock.advance(2 * SECOND)
    await driver.store.due(0)
    assert [(await driver.claim_one()).ref, (await driver.claim_one()).ref] == [sooner, later]


async def test_no_more_timers_are_handled_than_asked_for(driver: Driver, clock: Clock) -> None:
    for _ in range(3):
        await driver.submit(delay_us=SECOND)
    clock.advance(SECOND + 5)
    assert await driver.store.due(0, limit=2) == (2, 0)
    assert await driver.store.due(0, limit=2) == (1, -1)


async def test_a_ready_job_expires(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit(expire_us=SECOND)
    clock.advance(SECOND - 1)
    await driver.store.due(0)
    assert await driver.state(ref) is State.READY
    clock.advance(1)
    await driver.store.due(0)
    assert await driver.state(ref) is State.DEAD
    assert (await driver.fields(ref))["failure"] == "expired"
    assert await driver.events(ref) == ["dead"]
    assert await driver.claim() == []


async def test_a_scheduled_job_expires_and_leaves_no_timer(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit(delay_us=2 * SECOND, expire_us=SECOND)
    clock.advance(SECOND)
    assert await driver.store.due(0) == (1, -1)
    assert await driver.state(ref) is State.DEAD


async def test_a_job_whose_delay_and_expiry_come_together_expires(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit(delay_us=SECOND, expire_us=SECOND)
    clock.advance(SECOND)
    await driver.store.due(0)
    assert await driver.state(ref) is State.DEAD


async def test_a_claim_passes_over_an_expired_job_that_no_timer_has_ended_yet(driver: Driver, clock: Clock) -> None:
    expired = await driver.submit(expire_us=SECOND)
    ref = await driver.submit()
    clock.advance(SECOND)
    assert (await driver.claim_one()).ref == ref
    assert await driver.state(expired) is State.DEAD
    assert await driver.events(expired) == ["dead"]
    assert not await driver.redis.exists(TIMERS)


async def test_a_claimed_job_does_not_expire_and_has_no_timer(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit(expire_us=SECOND)
    lease = await driver.claim_one()
    assert not await driver.redis.exists(TIMERS)
    clock.advance(3 * SECOND)
    await driver.store.due(0)
    assert await driver.complete(lease)
    assert await driver.state(ref) is State.SUCCEEDED


@pytest.mark.parametrize("delay_us", [0, 60 * SECOND])
async def test_a_job_that_comes_back_after_it_expired_is_given_up(driver: Driver, clock: Clock, delay_us: int) -> None:
    ref = await driver.submit(expire_us=SECOND)
    lease = await driver.claim_one()
    clock.advance(2 * SECOND)
    await driver.fail(lease, retry_after_us=delay_us)
    assert (await driver.store.due(0))[0] == 1
    assert await driver.state(ref) is State.DEAD
    assert await driver.events(ref) == ["retrying", "dead"]


async def test_a_job_that_comes_back_before_it_expires_does_so_later(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit(expire_us=10 * SECOND)
    await driver.release(await driver.claim_one())
    clock.advance(10 * SECOND)
    await driver.store.due(0)
    assert await driver.state(ref) is State.DEAD


async def test_a_reaped_job_that_has_expired_is_given_up(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit(expire_us=SECOND)
    await driver.claim_one()
    clock.advance(5 * SECOND)
    await driver.store.reap(0)
    await driver.store.due(0)
    assert await driver.state(ref) is State.DEAD


async def test_the_expiry_of_a_forgotten_job_does_not_end_a_later_one_of_its_id(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit("same", expire_us=86_400 * SECOND)
    await driver.complete(await driver.claim_one())
    clock.advance(3_600 * SECOND)
    assert await driver.store.forget(0) == 1
    assert await driver.submit("same") == ref
    clock.advance(86_400 * SECOND)
    await driver.store.due(0)
    assert await driver.state(ref) is State.READY


async def test_a_claim_passes_over_500_expired_jobs_at_a_time_and_has_a_replica_woken_for_the_rest(
    driver: Driver, clock: Clock, hear: Hear
) -> None:
    await driver.store.submit(new_jobs(500, expire_us=SECOND))
    await driver.store.submit(new_jobs(300, expire_us=SECOND))
    await driver.submit()
    clock.advance(SECOND)
    async with hear("{hw:0}:replica:one") as heard:
        assert await driver.claim() == []
        assert await heard() == [("{hw:0}:replica:one", "wake default")]
    assert await driver.redis.xlen("{hw:0}:outbox") == 500
    assert len(await driver.claim(2)) == 1


async def test_a_delay_of_a_year_is_kept_to_the_microsecond(driver: Driver, clock: Clock) -> None:
    await driver.submit(delay_us=366 * 86_400 * SECOND - 1)
    assert await driver.store.due(0) == (0, 366 * 86_400 * SECOND - 1)
