"""Leases: who may still speak for a job, and what the end of a lease counts as."""

from __future__ import annotations

import pytest
from headworks_scheduler.domain.jobs import Beat, Held, Release, State

from tests.integration.scheduler_store import contents
from tests.integration.scheduler_store.driver import QUEUE, SECOND, Clock, Driver, completion, failed, lease_of


@pytest.mark.parametrize("word", ["complete", "fail", "release", "heartbeat"])
async def test_a_late_word_after_the_reaper_is_lost_and_changes_nothing(
    driver: Driver, clock: Clock, word: str
) -> None:
    await driver.submit()
    late = await driver.claim_one()
    clock.advance(5 * SECOND)
    await driver.store.reap(0)
    before = await contents.stored(driver.redis)
    assert await getattr(driver, word)(late) in (False, Beat.LOST)
    assert await contents.stored(driver.redis) == before


@pytest.mark.parametrize("word", ["complete", "fail", "release", "heartbeat"])
async def test_a_late_word_changes_nothing_for_the_next_worker(driver: Driver, clock: Clock, word: str) -> None:
    ref = await driver.submit()
    late = await driver.claim_one()
    clock.advance(5 * SECOND)
    await driver.store.reap(0)
    lease = await driver.claim_one()
    assert await getattr(driver, word)(late) in (False, Beat.LOST)
    assert await driver.complete(lease)
    assert await driver.state(ref) is State.SUCCEEDED


async def test_a_job_that_does_not_exist_has_no_lease(driver: Driver) -> None:
    nobody = Held("ann/default/none", 1)
    assert not await driver.complete(nobody)
    assert not await driver.fail(nobody)
    assert not await driver.release(nobody)
    assert await driver.heartbeat(nobody) is Beat.LOST


async def test_a_job_that_was_never_claimed_cannot_be_completed(driver: Driver) -> None:
    ref = await driver.submit()
    assert not await driver.complete(Held(ref, 0))
    assert await driver.state(ref) is State.READY


async def test_an_ended_lease_that_nobody_reaped_still_completes(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    clock.advance(3_600 * SECOND)
    assert await driver.complete(lease)
    assert await driver.state(ref) is State.SUCCEEDED


async def test_an_ended_lease_that_nobody_reaped_is_renewed(driver: Driver, clock: Clock) -> None:
    await driver.submit()
    lease = await driver.claim_one()
    clock.advance(3_600 * SECOND)
    assert await driver.heartbeat(lease) is Beat.RENEWED
    assert (await driver.store.reap(0)).ended == 0


async def test_a_lease_ends_to_the_microsecond(driver: Driver, clock: Clock) -> None:
    await driver.submit()
    await driver.claim_one()
    clock.advance(5 * SECOND - 1)
    assert (await driver.store.reap(0)).ended == 0
    clock.advance(1)
    assert (await driver.store.reap(0)).ended == 1


async def test_the_first_heartbeat_turns_the_delivery_time_into_a_lease(driver: Driver, clock: Clock) -> None:
    await driver.submit()
    await driver.heartbeat(await driver.claim_one())
    clock.advance(30 * SECOND - 1)
    assert (await driver.store.reap(0)).ended == 0
    clock.advance(1)
    assert (await driver.store.reap(0)).lost == 1


async def test_any_replica_renews_a_lease(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    other = Driver(driver.redis, clock, replica="two")
    assert await other.heartbeat(lease) is Beat.RENEWED
    assert (await driver.fields(ref))["replica"] == "two"


async def test_a_repeated_result_is_answered_as_recorded_and_has_one_event(driver: Driver) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    assert await driver.complete(lease)
    before = await contents.stored(driver.redis)
    assert await driver.complete(lease)
    assert await contents.stored(driver.redis) == before
    assert await driver.events(ref) == ["succeeded"]


async def test_a_repeated_failure_is_counted_once(driver: Driver) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    assert await driver.fail(lease)
    assert await driver.fail(lease)
    assert await driver.numbers(ref, "failures") == [1]
    assert await driver.events(ref) == ["retrying"]


@pytest.mark.parametrize("delay_us", [0, SECOND])
async def test_the_same_failure_twice_in_one_batch_is_counted_once(driver: Driver, delay_us: int) -> None:
    ref = await driver.submit()
    item = failed(await driver.claim_one(), retry_after_us=delay_us)
    assert await driver.store.fail(0, [item, item]) == [True, True]
    assert await driver.numbers(ref, "failures") == [1]
    assert await driver.redis.hgetall("{hw:0}:q:default:counts") == {
        b"waiting": b"1",
        b"waiting:ann": b"1",
        **({} if delay_us else {b"ready:5": b"1"}),
    }


async def test_the_same_result_twice_in_one_batch_has_one_event(driver: Driver) -> None:
    ref = await driver.submit()
    item = completion(await driver.claim_one())
    assert await driver.store.complete(0, [item, item]) == [True, True]
    assert await driver.events(ref) == ["succeeded"]


async def test_an_old_and_a_new_result_in_one_batch_are_told_apart(driver: Driver, clock: Clock) -> None:
    await driver.submit()
    old = await driver.claim_one()
    clock.advance(5 * SECOND)
    await driver.store.reap(0)
    new = await driver.claim_one()
    assert await driver.store.complete(0, [completion(old), completion(new), completion(old)]) == [False, True, False]


async def test_a_repeated_release_gives_the_job_back_once(driver: Driver) -> None:
    ref = await driver.submit()
    lease = await driver.claim_one()
    item = Release(ref, lease.lease_id)
    assert await driver.store.release(0, [item, item]) == [True, True]
    assert await driver.release(lease)
    assert await driver.numbers(ref, "attempts") == [0]
    assert len(await driver.claim(2)) == 1


async def test_a_released_lease_is_lost_for_heartbeats(driver: Driver) -> None:
    await driver.submit()
    lease = await driver.claim_one()
    await driver.release(lease)
    assert await driver.heartbeat(lease) is Beat.LOST


async def test_a_lease_that_nobody_confirmed_counts_as_undelivered_not_as_an_attempt(
    driver: Driver, clock: Clock
) -> None:
    ref = await driver.submit()
    await driver.claim_one()
    clock.advance(5 * SECOND)
    await driver.store.reap(0)
    assert await driver.numbers(ref, "undelivered", "attempts", "lost", "failures") == [1, 0, 0, 0]
    assert await driver.state(ref) is State.READY


async def test_a_lost_lease_keeps_its_attempt(driver: Driver) -> None:
    ref = await driver.submit()
    await driver.lose(await driver.claim_one())
    assert await driver.numbers(ref, "undelivered", "attempts", "lost", "failures") == [0, 1, 1, 0]
    assert await driver.state(ref) is State.READY


async def test_a_job_that_loses_more_leases_than_allowed_is_poison(driver: Driver) -> None:
    ref = await driver.submit()
    for _ in range(2):
        await driver.lose(await driver.claim_one())
    assert await driver.state(ref) is State.READY
    await driver.lose(await driver.claim_one())
    assert await driver.state(ref) is State.DEAD
    assert (await driver.fields(ref))["failure"] == "poison"
    assert await driver.events(ref) == ["dead"]


async def test_a_job_is_never_poison_for_not_being_delivered(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit()
    for _ in range(10):
        await driver.claim_one()
        clock.advance(5 * SECOND)
        await driver.store.reap(0)
    assert await driver.state(ref) is State.READY


async def test_a_new_attempt_has_to_be_confirmed_anew(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit()
    await driver.lose(await driver.claim_one())
    await driver.claim_one()
    clock.advance(5 * SECOND)
    assert (await driver.store.reap(0)).undelivered == 1
    assert await driver.numbers(ref, "lost", "undelivered", "attempts") == [1, 1, 1]


async def test_a_reaped_job_is_claimed_before_later_ones_of_its_lane(driver: Driver, clock: Clock) -> None:
    first = await driver.submit()
    await driver.submit()
    await driver.claim_one()
    clock.advance(5 * SECOND)
    await driver.store.reap(0)
    assert (await driver.claim_one()).ref == first


async def test_lease_ids_grow_within_a_call_and_over_a_clock_that_goes_back(driver: Driver, clock: Clock) -> None:
    for _ in range(4):
        await driver.submit()
    ids = [job.lease_id for job in await driver.claim(2)]
    clock.advance(-60 * SECOND)
    ids += [job.lease_id for job in await driver.claim(2)]
    assert ids == [clock.now_us + 60 * SECOND + n for n in range(4)]


async def test_a_lease_id_is_a_time_and_keeps_all_its_digits(driver: Driver, clock: Clock) -> None:
    clock.now_us = 4_102_444_800_999_999
    ref = await driver.submit()
    lease = await driver.claim_one()
    assert lease.lease_id == clock.now_us
    assert await driver.numbers(ref, "lease", "created", "started") == [clock.now_us] * 3
    await driver.heartbeat(lease)
    assert await driver.redis.zscore("{hw:0}:leases", ref) == clock.now_us + 30 * SECOND


async def test_reaping_takes_the_oldest_leases_up_to_its_limit(driver: Driver, clock: Clock) -> None:
    refs = [await driver.submit() for _ in range(3)]
    for _ in refs:
        await driver.claim()
        clock.advance(1)
    clock.advance(60 * SECOND)
    assert (await driver.store.reap(0, limit=2)).ended == 2
    assert [await driver.state(ref) for ref in refs] == [State.READY, State.READY, State.LEASED]


async def test_an_index_entry_without_a_leased_job_is_repaired(driver: Driver, clock: Clock) -> None:
    await driver.redis.zadd("{hw:0}:leases", {"ann/default/gone": clock.now_us})
    assert (await driver.store.reap(0)).repaired == 1
    assert not await driver.redis.exists("{hw:0}:leases")


async def test_workers_served_in_one_call_get_their_shares_in_turn(driver: Driver) -> None:
    refs = [await driver.submit() for _ in range(5)]
    claimed = await driver.store.claim(QUEUE, [("w1", 2), ("w2", 0), ("w3", 3)])
    assert [lease_of(job).ref for job in claimed] == refs
    assert [(await driver.fields(ref))["worker"] for ref in refs] == ["w1", "w1", "w3", "w3", "w3"]
