"""What a submit may refuse, and ids that are submitted again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from headworks_scheduler.domain.jobs import NewJob, Queue, State, Submitted

from tests.integration.scheduler_store import contents
from tests.integration.scheduler_store.driver import SECOND, Clock, Driver, new_job, new_jobs, ref_of

CREATED, EXISTING, CONFLICT = Submitted.CREATED, Submitted.EXISTING, Submitted.CONFLICT
QUEUE_FULL, TENANT_FULL, OUTBOX_FULL = Submitted.QUEUE_FULL, Submitted.TENANT_FULL, Submitted.OUTBOX_FULL
SMALL = Queue("small", max_size=3, max_size_per_tenant=2)


def small(tenant: str, **fields: Any) -> NewJob:
    """A job for the small queue."""
    return new_job(queue=SMALL, tenant=tenant, **fields)


async def test_a_queue_takes_its_maximum_and_no_more(driver: Driver) -> None:
    jobs = [small("ann"), small("bob"), small("ann"), small("bob"), small("cy")]
    assert await driver.store.submit(jobs) == [CREATED, CREATED, CREATED, QUEUE_FULL, QUEUE_FULL]


async def test_a_tenant_takes_its_share_and_leaves_the_rest_to_others(driver: Driver) -> None:
    jobs = [small("ann"), small("ann"), small("ann"), small("bob")]
    assert await driver.store.submit(jobs) == [CREATED, CREATED, TENANT_FULL, CREATED]


async def test_bounds_hold_over_several_calls(driver: Driver) -> None:
    assert await driver.store.submit([small("ann"), small("ann")]) == [CREATED, CREATED]
    assert await driver.store.submit([small("ann")]) == [TENANT_FULL]
    assert await driver.store.submit([small("bob"), small("bob")]) == [CREATED, QUEUE_FULL]


async def test_delayed_jobs_count_as_waiting(driver: Driver) -> None:
    assert await driver.store.submit([small("ann", delay_us=SECOND), small("ann", delay_us=SECOND)]) == [CREATED] * 2
    assert await driver.store.submit([small("ann")]) == [TENANT_FULL]


async def test_leased_jobs_make_room_and_take_it_again_when_they_come_back(driver: Driver) -> None:
    await driver.store.submit([small("ann"), small("ann")])
    lease = await driver.claim_one(queue=SMALL)
    assert await driver.store.submit([small("ann")]) == [CREATED]
    await driver.release(lease)
    assert await driver.store.submit([small("bob")]) == [QUEUE_FULL]


async def test_a_refused_job_leaves_nothing_behind(driver: Driver) -> None:
    await driver.store.submit([small("ann"), small("ann")])
    before = await contents.stored(driver.redis)
    await driver.store.submit([small("ann", delay_us=SECOND, expire_us=SECOND)])
    after = await contents.stored(driver.redis)
    assert int(after.pop("{hw:0}:seq")) == int(before.pop("{hw:0}:seq")) + 1
    assert after == before


async def test_a_full_outbox_refuses_submits(driver: Driver, clock: Clock) -> None:
    narrow = Driver(driver.redis, clock, outbox_max=2)
    for _ in range(2):
        await narrow.submit()
        await narrow.complete(await narrow.claim_one())
    assert await narrow.store.submit([new_job()]) == [OUTBOX_FULL]


async def test_a_full_outbox_refuses_no_results(driver: Driver, clock: Clock) -> None:
    narrow = Driver(driver.redis, clock, outbox_max=1)
    refs = [await narrow.submit() for _ in range(2)]
    for _ in refs:
        assert await narrow.complete(await narrow.claim_one())
    assert await driver.redis.xlen("{hw:0}:outbox") == 2


async def test_the_same_submission_again_answers_with_the_first_job(driver: Driver) -> None:
    job = new_job("same")
    assert await driver.store.submit([job]) == [CREATED]
    before = await contents.stored(driver.redis)
    assert await driver.store.submit([job]) == [EXISTING]
    after = await contents.stored(driver.redis)
    assert {key for key in after if after[key] != before[key]} == {"{hw:0}:seq"}


async def test_the_same_id_with_another_spec_is_a_conflict(driver: Driver) -> None:
    await driver.submit("same")
    assert await driver.store.submit([new_job("same", spec=b"other")]) == [CONFLICT]


async def test_an_id_belongs_to_its_tenant_and_queue(driver: Driver) -> None:
    others = [new_job("same", tenant="bob", spec=b"other"), new_job("same", queue=Queue("other"), spec=b"third")]
    await driver.submit("same")
    assert await driver.store.submit(others) == [CREATED, CREATED]


async def test_one_id_twice_in_a_batch_is_one_job(driver: Driver) -> None:
    same, other = new_job("same"), new_job("same", spec=b"other")
    assert await driver.store.submit([same, same, other]) == [CREATED, EXISTING, CONFLICT]
    assert len(await driver.claim(3)) == 1


@pytest.mark.parametrize("state", list(State))
async def test_an_id_is_known_whatever_became_of_its_job(driver: Driver, state: State) -> None:
    job = new_job("same", delay_us=SECOND if state is State.SCHEDULED else 0)
    await driver.store.submit([job])
    if state is State.CANCELLED:
        await driver.store.cancel(0, ref_of(job))
    elif state not in (State.SCHEDULED, State.READY):
        lease = await driver.claim_one()
        if state is State.SUCCEEDED:
            await driver.complete(lease)
        elif state is State.DEAD:
            await driver.fail(lease, retryable=False)
    assert await driver.state(ref_of(job)) is state
    assert await driver.store.submit([job]) == [EXISTING]
    assert await driver.state(ref_of(job)) is state


async def test_a_known_id_is_answered_though_the_queue_is_full(driver: Driver) -> None:
    jobs = [small("ann"), small("ann"), small("bob")]
    await driver.store.submit(jobs)
    again = [replace(job, fresh=False) for job in jobs]
    assert await driver.store.submit([*again, small("cy")]) == [EXISTING, EXISTING, EXISTING, QUEUE_FULL]


async def test_answers_come_in_the_order_of_the_jobs_though_queues_and_tenants_are_mixed(driver: Driver) -> None:
    await driver.submit("known")
    jobs = [
        small("ann"),
        new_job("known"),
        small("bob"),
        small("ann"),
        new_job("known", spec=b"other"),
        small("ann"),
        small("bob"),
    ]
    answers = [CREATED, EXISTING, CREATED, CREATED, CONFLICT, TENANT_FULL, QUEUE_FULL]
    # Groups are counted one after the other: both of ann's jobs come before the first of bob's.
    assert await driver.store.submit(jobs) == answers


async def test_500_jobs_at_once_are_ready_in_their_order(driver: Driver) -> None:
    jobs = new_jobs(500)
    assert await driver.store.submit(jobs) == [CREATED] * 500
    assert [job.name.rpartition("/")[2][2:] for job in await driver.claim(500)] == [job.tail for job in jobs]


async def test_what_only_some_jobs_have_is_stored_with_those(driver: Driver) -> None:
    plain, full = new_job(), new_job(lane="a:b", traceparent="00-t-s-01", expire_us=SECOND, delay_us=1, level=0)
    await driver.store.submit([plain, full])
    optional = {"lane", "trace", "expires", "due"}
    assert optional & (await driver.fields(ref_of(plain))).keys() == set()
    assert optional <= (await driver.fields(ref_of(full))).keys()
