"""Cancelling a job in every state."""

from __future__ import annotations

from headworks_scheduler.domain.jobs import Beat, CancelOutcome, State

from tests.integration.scheduler_store import contents
from tests.integration.scheduler_store.driver import SECOND, Clock, Driver

CANCELLED = (CancelOutcome.CANCELLED, 0)


async def test_a_ready_job_ends_at_once_and_is_never_claimed(driver: Driver) -> None:
    ref = await driver.submit()
    assert await driver.store.cancel(0, ref) == CANCELLED
    assert await driver.state(ref) is State.CANCELLED
    assert await driver.events(ref) == ["cancelled"]
    assert await driver.claim() == []


async def test_a_scheduled_job_ends_at_once_and_leaves_no_timer(driver: Driver) -> None:
    ref = await driver.submit(delay_us=SECOND, expire_us=SECOND)
    assert await driver.store.cancel(0, ref) == CANCELLED
    assert await driver.events(ref) == ["cancelled"]
    assert not await driver.redis.exists("{hw:0}:timers")


async def test_a_job_between_two_attempts_ends_at_once(driver: Driver) -> None:
    ref = await driver.submit()
    await driver.fail(await driver.claim_one())
    assert await driver.store.cancel(0, ref) == CANCELLED
    assert await driver.events(ref) == ["retrying", "cancelled"]


async def test_a_leased_job_runs_on_and_its_worker_is_asked(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    clock.advance(SECOND)
    assert await driver.store.cancel(0, ref) == (CancelOutcome.REQUESTED, 4 * SECOND)
    assert await driver.state(ref) is State.LEASED
    assert await driver.heartbeat(lease) is Beat.CANCEL_REQUESTED
    assert await driver.events(ref) == []


async def test_the_time_left_of_an_ended_lease_is_none(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit()
    await driver.claim_one()
    clock.advance(60 * SECOND)
    assert await driver.store.cancel(0, ref) == (CancelOutcome.REQUESTED, 0)


async def test_a_worker_that_gives_the_job_back_agrees(driver: Driver) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    await driver.store.cancel(0, ref)
    assert await driver.release(lease)
    assert await driver.state(ref) is State.CANCELLED
    assert await driver.numbers(ref, "attempts") == [1]
    assert await driver.events(ref) == ["cancelled"]


async def test_a_worker_that_had_finished_before_it_heard_is_believed(driver: Driver) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    await driver.store.cancel(0, ref)
    assert await driver.complete(lease)
    assert await driver.state(ref) is State.SUCCEEDED


async def test_a_failure_is_not_tried_again(driver: Driver) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    await driver.store.cancel(0, ref)
    assert await driver.fail(lease)
    assert await driver.state(ref) is State.CANCELLED
    assert await driver.numbers(ref, "failures") == [1]
    assert await driver.events(ref) == ["cancelled"]


async def test_a_failure_for_good_is_a_dead_letter_all_the_same(driver: Driver) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    await driver.store.cancel(0, ref)
    await driver.fail(lease, retryable=False)
    assert await driver.state(ref) is State.DEAD


async def test_the_end_of_the_lease_ends_the_job(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit()
    await driver.claim_one()
    await driver.store.cancel(0, ref)
    clock.advance(5 * SECOND)
    assert (await driver.store.reap(0)).cancelled == 1
    assert await driver.state(ref) is State.CANCELLED
    assert await driver.events(ref) == ["cancelled"]


async def test_cancelling_twice_changes_nothing_more(driver: Driver) -> None:
    ref = await driver.submit()
    await driver.store.cancel(0, ref)
    before = await contents.stored(driver.redis)
    assert await driver.store.cancel(0, ref) == CANCELLED
    assert await contents.stored(driver.redis) == before


async def test_a_finished_job_is_not_cancelled(driver: Driver) -> None:
    done, dead = await driver.submit(), await driver.submit()
    await driver.complete(await driver.claim_one())
    await driver.fail(await driver.claim_one(), retryable=False)
    before = await contents.stored(driver.redis)
    assert await driver.store.cancel(0, done) == (CancelOutcome.FINISHED, 0)
    assert await driver.store.cancel(0, dead) == (CancelOutcome.FINISHED, 0)
    assert await contents.stored(driver.redis) == before


async def test_a_job_that_does_not_exist_is_missing(driver: Driver) -> None:
    assert await driver.store.cancel(0, "ann/default/none") == (CancelOutcome.MISSING, 0)


async def test_the_last_job_of_a_queue_leaves_nothing_of_its_order_behind(driver: Driver) -> None:
    for lane in ("a", "b"):
        await driver.submit(lane=lane)
    await driver.claim_one()
    await driver.store.cancel(0, await driver.submit(lane="a"))
    await driver.claim_one()
    assert contents.order_keys(await contents.stored(driver.redis)) == {"{hw:0}:q:default:counts"}
