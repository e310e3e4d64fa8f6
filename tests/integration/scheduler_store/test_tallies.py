"""What the store counts for the metrics: what became of jobs, by queue."""

from __future__ import annotations

from headworks_scheduler.domain.jobs import Claimed, Held, Release
from headworks_scheduler.domain.retry import RetryPolicy

from tests.integration.scheduler_store.driver import Driver, completion, failed, lease_of, new_job, ref_of


async def leases(driver: Driver, count: int) -> list[Held]:
    """Submit and claim so many jobs with two attempts each."""
    policy = RetryPolicy(max_attempts=2).encode()
    await driver.store.submit([new_job(retry=policy) for _ in range(count)])
    claimed: list[Claimed] = await driver.claim(count)
    return [lease_of(job) for job in claimed]


async def test_every_outcome_is_counted_once(driver: Driver) -> None:
    one, two, three, four, five, six = await leases(driver, 6)
    waiting = await driver.submit()
    await driver.store.cancel(0, four.ref)
    await driver.store.cancel(0, five.ref)
    await driver.store.cancel(0, waiting)
    late = Held(six.ref, six.lease_id - 1)
    await driver.store.complete(0, [completion(one), completion(late)])
    await driver.store.fail(0, [failed(two), failed(three, retryable=False), failed(four)])
    await driver.store.release(0, [Release(five.ref, five.lease_id), Release(six.ref, six.lease_id)])

    assert driver.store.transitions == {
        ("default", "claimed"): 6,
        ("default", "succeeded"): 1,
        ("default", "retried"): 1,
        ("default", "dead"): 1,
        ("default", "cancelled"): 3,
        ("default", "released"): 1,
    }
    assert driver.store.late == 1


async def test_submits_are_counted_by_what_became_of_them(driver: Driver) -> None:
    job = new_job("00000000-0000-4000-8000-000000000001")
    other = new_job("00000000-0000-4000-8000-000000000001", spec=b"other")
    await driver.store.submit([job, new_job()])
    await driver.store.submit([job, other])

    assert driver.store.submitted == {("default", "created"): 2, ("default", "existing"): 1, ("default", "conflict"): 1}


async def test_a_queue_that_a_worker_invents_is_not_counted(driver: Driver) -> None:
    invented = [Held(f"ann/invented-{number}/{ref_of(new_job()).rpartition('/')[2]}", 1) for number in range(500)]
    await driver.store.complete(0, [completion(lease) for lease in invented])

    assert driver.store.transitions == {}
    assert driver.store.late == 500
