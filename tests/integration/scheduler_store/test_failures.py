"""What becomes of a job whose handler failed."""

from __future__ import annotations

import random

import pytest
from headworks_core.cells import Meta
from headworks_scheduler.domain.jobs import FailedAttempt, NewJob, State
from headworks_scheduler.domain.retry import RetryPolicy

from tests.integration.scheduler_store.driver import QUEUE, SECOND, Clock, Driver, failed, lease_of, new_job, ref_of

DAY_US = 86_400 * SECOND
STEPS, BATCH = 3_000, 500


def random_policy(dice: random.Random) -> RetryPolicy:
    """Within the bounds of the protos, the bounds included."""
    initial_us = dice.choice([1_000, DAY_US, dice.randint(1_000, DAY_US)])
    return RetryPolicy(
        max_attempts=100,
        initial_us=initial_us,
        max_us=dice.choice([initial_us, 7 * DAY_US, dice.randint(initial_us, 7 * DAY_US)]),
        multiplier_milli=dice.choice([1_000, 10_000, dice.randint(1_000, 10_000)]),
        jitter_milli=dice.choice([0, 1_000, dice.randint(0, 1_000)]),
    )


async def test_the_delay_is_the_policys_in_3000_random_steps(driver: Driver, clock: Clock) -> None:
    dice = random.Random(20_251_122)
    for _ in range(STEPS // BATCH):
        policies = [random_policy(dice) for _ in range(BATCH)]
        jobs: list[NewJob] = [new_job(retry=policy.encode()) for policy in policies]
        await driver.store.submit(jobs)
        leases = {lease.ref: lease for lease in map(lease_of, await driver.claim(BATCH))}
        earlier = [dice.randint(0, 30) for _ in jobs]
        lucks = [dice.randrange(1_000) for _ in jobs]
        for job, failures in zip(jobs, earlier, strict=True):
            await driver.redis.hset(f"{{hw:0}}:job:{ref_of(job)}", "failures", failures)
        items = [
            FailedAttempt(ref_of(job), leases[ref_of(job)].lease_id, b"", b"", True, -1, luck)
            for job, luck in zip(jobs, lucks, strict=True)
        ]
        await driver.store.fail(0, items)
        dues = [int(fields["due"]) for fields in await driver.store.read(0, list(map(ref_of, jobs))) if fields]
        wanted = [
            policy.delay_us(failures + 1, luck) for policy, failures, luck in zip(policies, earlier, lucks, strict=True)
        ]
        assert [due - clock.now_us for due in dues] == wanted
        await driver.redis.flushall()


async def test_a_retry_waits_for_its_back_off(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit(retry=RetryPolicy(initial_us=2 * SECOND, jitter_milli=0).encode())
    await driver.fail(await driver.claim_one())
    assert await driver.state(ref) is State.SCHEDULED
    assert await driver.events(ref) == ["retrying"]
    clock.advance(2 * SECOND - 1)
    assert await driver.store.due(0) == (0, 1)
    clock.advance(1)
    assert await driver.store.due(0) == (1, -1)
    assert (await driver.claim(1))[0].attempt == 2


async def test_the_last_attempt_allowed_makes_a_dead_letter(driver: Driver) -> None:
    ref = await driver.submit(retry=RetryPolicy(max_attempts=2).encode())
    await driver.fail(await driver.claim_one(), retry_after_us=0)
    await driver.fail(await driver.claim_one(), retry_after_us=0)
    assert await driver.state(ref) is State.DEAD
    assert (await driver.fields(ref))["failure"] == "failure"
    assert await driver.events(ref) == ["retrying", "dead"]


async def test_lost_leases_take_no_attempt_from_the_retry_policy(driver: Driver) -> None:
    ref = await driver.submit(retry=RetryPolicy(max_attempts=2).encode())
    await driver.lose(await driver.claim_one())
    await driver.fail(await driver.claim_one(), retry_after_us=0)
    assert await driver.state(ref) is State.READY
    assert await driver.numbers(ref, "attempts", "failures", "lost") == [2, 1, 1]


async def test_a_failure_that_is_not_retryable_makes_a_dead_letter_at_once(driver: Driver) -> None:
    ref = await driver.submit()
    await driver.fail(await driver.claim_one(), retryable=False)
    assert await driver.state(ref) is State.DEAD
    assert await driver.events(ref) == ["dead"]


async def test_the_handlers_own_retry_time_goes_before_the_policy(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit()
    await driver.fail(await driver.claim_one(), retry_after_us=7 * SECOND)
    assert await driver.numbers(ref, "due") == [clock.now_us + 7 * SECOND]


async def test_a_retry_after_no_time_is_ready_at_its_old_place(driver: Driver) -> None:
    first = await driver.submit()
    await driver.submit()
    await driver.fail(await driver.claim_one(), retry_after_us=0)
    assert await driver.state(first) is State.READY
    assert (await driver.claim_one()).ref == first


async def test_a_retry_after_its_back_off_is_ready_at_its_old_place(driver: Driver, clock: Clock) -> None:
    first = await driver.submit()
    await driver.submit()
    await driver.fail(await driver.claim_one(), retry_after_us=SECOND)
    clock.advance(SECOND)
    await driver.store.due(0)
    assert (await driver.claim_one()).ref == first


async def test_an_event_has_the_short_failure_and_the_job_the_whole_one(driver: Driver) -> None:
    ref = await driver.submit()
    await driver.fail(await driver.claim_one())
    (event,) = await driver.outbox()
    assert event[b"failure"] == b"short"
    assert (await driver.fields(ref))["failure"] == "failure"


async def test_an_event_has_all_its_fields_in_order(driver: Driver, clock: Clock) -> None:
    ref = await driver.submit()
    clock.advance(1)
    await driver.fail(await driver.claim_one(), retry_after_us=0)
    await driver.complete(await driver.claim_one())
    events = [list(event.items()) for event in await driver.outbox()]
    at = str(clock.now_us).encode()
    assert [name for name, _ in events[0]] == b"job type task seq attempt gen state at trace failure".split()
    assert [value for _, value in events[0]] == [
        ref.encode(),
        b"retrying",
        b"task",
        b"1",
        b"1",
        b"1",
        b"2",
        at,
        b"",
        b"short",
    ]
    assert [value for _, value in events[1]] == [
        ref.encode(),
        b"succeeded",
        b"task",
        b"2",
        b"2",
        b"1",
        b"4",
        at,
        b"",
        b"",
    ]


@pytest.mark.parametrize("trace", ["a b", " ", "a\nb"])
async def test_a_trace_with_blanks_leaves_the_other_words_of_an_event_in_place(driver: Driver, trace: str) -> None:
    await driver.submit(traceparent=trace)
    lease = await driver.claim_one()
    await driver.store.fail(0, [failed(lease)._replace(traceparent=trace)])
    (event,) = await driver.outbox()
    assert (event[b"trace"], event[b"failure"]) == (b"", b"short")


@pytest.mark.parametrize("retryable", [True, False])
async def test_without_events_the_outbox_stays_empty(driver: Driver, clock: Clock, retryable: bool) -> None:
    silent = Driver(driver.redis, clock, meta=Meta(events="none"))
    ref = await silent.submit()
    await silent.fail(await silent.claim_one(), retryable=retryable)
    assert await driver.events(ref) == []


async def test_a_job_submitted_without_a_policy_of_its_own_has_the_default(driver: Driver) -> None:
    job = NewJob(QUEUE, "ann", "tail", False, b"spec", "task")
    await driver.store.submit([job])
    assert (await driver.fields(ref_of(job)))["policy"] == f"0:{RetryPolicy().encode()}"
