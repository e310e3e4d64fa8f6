"""A server at `maxmemory` takes no new jobs, and drains all the same: work is handed out, renewed and finished."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from headworks_core.errors import Reason, ResourceExhausted
from headworks_core.store import redis_client
from headworks_devkit.backends.valkey import valkey
from headworks_scheduler.domain.jobs import Beat, CancelOutcome, Held, State
from headworks_scheduler.domain.retry import RetryPolicy

from tests.integration.scheduler_store.driver import SECOND, Clock, Driver, new_job


@pytest.fixture(scope="module")
async def own_url() -> AsyncIterator[str]:
    """A server for this module alone, as its memory is taken away."""
    async with valkey() as server:
        yield server.url


@pytest.fixture
async def driver(own_url: str, clock: Clock) -> AsyncIterator[Driver]:
    """One replica on an empty server, that is not full yet."""
    async with redis_client(own_url, timeout_s=10) as redis:
        await redis.config_set("maxmemory", 0)
        await redis.flushall()
        yield Driver(redis, clock, finished_max=1)


async def fill(driver: Driver, *, forget_scripts: bool = True) -> None:
    """From now on the server has no memory left; and knows no script, so that each is sent anew."""
    await driver.redis.config_set("maxmemory", 1)
    if forget_scripts:
        await driver.redis.script_flush()


async def lease(driver: Driver, **fields: Any) -> Held:
    """A new job, claimed."""
    await driver.submit(**fields)
    return await driver.claim_one()


@pytest.mark.parametrize("known", [True, False])
async def test_submits_are_refused_and_change_nothing(driver: Driver, known: bool) -> None:
    await driver.submit()
    keys = await driver.redis.keys()
    await fill(driver, forget_scripts=not known)
    with pytest.raises(ResourceExhausted) as refused:
        await driver.store.submit([new_job(), new_job(delay_us=SECOND)])
    assert refused.value.reason is Reason.STORE_FULL
    assert refused.value.retry_after_us
    assert await driver.redis.keys() == keys


async def test_ready_jobs_are_claimed(driver: Driver) -> None:
    ref = await driver.submit()
    await fill(driver)
    assert (await driver.claim_one()).ref == ref


async def test_a_claim_without_work_is_answered(driver: Driver) -> None:
    await fill(driver)
    assert await driver.claim() == []
    assert await driver.redis.smembers("{hw:0}:q:default:waiters") == {b"one"}


async def test_leases_are_renewed_and_confirmed(driver: Driver, clock: Clock) -> None:
    held = await lease(driver)
    await fill(driver)
    assert await driver.heartbeat(Held(held.ref, held.lease_id, b"half")) is Beat.RENEWED
    clock.advance(29 * SECOND)
    assert (await driver.store.reap(0)).ended == 0


async def test_jobs_are_completed_with_their_result_and_event(driver: Driver) -> None:
    held = await lease(driver)
    await fill(driver)
    assert await driver.complete(held)
    assert (await driver.fields(held.ref))["result"] == "{}"
    assert await driver.events(held.ref) == ["succeeded"]


async def test_failed_jobs_wait_for_their_retry(driver: Driver) -> None:
    held = await lease(driver)
    await fill(driver)
    assert await driver.fail(held)
    assert await driver.state(held.ref) is State.SCHEDULED


async def test_failed_jobs_become_dead_letters(driver: Driver) -> None:
    held = await lease(driver, retry=RetryPolicy(max_attempts=1).encode())
    await fill(driver)
    assert await driver.fail(held)
    assert await driver.events(held.ref) == ["dead"]


@pytest.mark.parametrize(("delay_us", "state"), [(0, State.READY), (SECOND, State.SCHEDULED)])
async def test_jobs_are_given_back(driver: Driver, delay_us: int, state: State) -> None:
    held = await lease(driver)
    await fill(driver)
    assert await driver.release(held, delay_us)
    assert await driver.state(held.ref) is state


async def test_ended_leases_are_reaped(driver: Driver, clock: Clock) -> None:
    held = await lease(driver)
    await fill(driver)
    clock.advance(5 * SECOND)
    assert (await driver.store.reap(0)).undelivered == 1
    assert await driver.state(held.ref) is State.READY


@pytest.mark.parametrize("delay_us", [0, SECOND])
async def test_waiting_jobs_are_cancelled(driver: Driver, delay_us: int) -> None:
    ref = await driver.submit(delay_us=delay_us)
    await fill(driver)
    assert await driver.store.cancel(0, ref) == (CancelOutcome.CANCELLED, 0)
    assert await driver.events(ref) == ["cancelled"]


async def test_workers_are_asked_to_cancel(driver: Driver) -> None:
    held = await lease(driver)
    await fill(driver)
    assert (await driver.store.cancel(0, held.ref))[0] is CancelOutcome.REQUESTED
    assert await driver.heartbeat(held) is Beat.CANCEL_REQUESTED


async def test_timers_are_handled(driver: Driver, clock: Clock) -> None:
    delayed = await driver.submit(delay_us=SECOND)
    expiring = await driver.submit(expire_us=SECOND)
    await fill(driver)
    clock.advance(SECOND)
    assert (await driver.store.due(0))[0] == 2
    assert [await driver.state(delayed), await driver.state(expiring)] == [State.READY, State.DEAD]


async def test_finished_jobs_are_forgotten(driver: Driver) -> None:
    for _ in range(3):
        await driver.complete(await lease(driver))
    await fill(driver)
    assert await driver.store.forget(0) == 2


async def test_jobs_are_watched_to_their_end(driver: Driver) -> None:
    held = await lease(driver)
    await fill(driver)
    await driver.store.read(0, [held.ref], watch=True)
    assert (await driver.fields(held.ref))["watch"] == "one"


async def test_submits_are_taken_again_when_there_is_memory(driver: Driver) -> None:
    await fill(driver)
    with pytest.raises(ResourceExhausted):
        await driver.submit()
    await driver.redis.config_set("maxmemory", 0)
    await driver.submit()
