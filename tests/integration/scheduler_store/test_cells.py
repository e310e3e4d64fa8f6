"""Several cells, and a server that forgets its scripts."""

from __future__ import annotations

import re

from headworks_core.cells import Meta
from headworks_scheduler.domain.jobs import Queue, State, Submitted
from redis.asyncio import Redis

from tests.integration.scheduler_store import contents
from tests.integration.scheduler_store.driver import (
    SECOND,
    Clock,
    Driver,
    cells_of,
    completion,
    lease_of,
    new_job,
    ref_of,
)

META = Meta(cells=4)
QUEUES = [Queue(f"queue-{n}") for n in range(12)]


async def test_queues_are_spread_over_the_cells_and_stay_there(redis: Redis, clock: Clock) -> None:
    driver = Driver(redis, clock, meta=META)
    jobs = [new_job(queue=queue) for queue in QUEUES] * 2
    assert await driver.store.submit(jobs[:12]) == [Submitted.CREATED] * 12
    cells = {queue.name: cells_of(await driver.claim(queue=queue)) for queue in QUEUES}
    assert cells == {queue.name: {META.cell_of(queue.name)} for queue in QUEUES}
    assert {cell for of_queue in cells.values() for cell in of_queue} == {0, 1, 2, 3}


async def test_answers_come_in_the_order_of_the_jobs_though_cells_are_mixed(redis: Redis, clock: Clock) -> None:
    driver = Driver(redis, clock, meta=META)
    known = [new_job(f"known-{n}", queue=queue) for n, queue in enumerate(QUEUES)]
    await driver.store.submit(known[::2])
    wanted = [Submitted.CREATED if n % 2 else Submitted.EXISTING for n in range(12)]
    assert await driver.store.submit(known) == wanted


async def test_every_key_has_the_hash_tag_of_its_cell(redis: Redis, clock: Clock) -> None:
    driver = Driver(redis, clock, meta=META)
    for queue in QUEUES:
        await driver.store.submit([new_job(queue=queue), new_job(queue=queue, delay_us=1, expire_us=1)])
        cell = META.cell_of(queue.name)
        claimed = await driver.claim(queue=queue)
        await driver.store.complete(cell, [completion(lease_of(job)) for job in claimed])
    for key in await contents.stored(redis):
        tag = re.fullmatch(r"\{hw:([0-3])\}:(.*)", key)
        assert tag
        named = re.search(r"queue-\d+", tag[2])
        assert named is None or META.cell_of(named[0]) == int(tag[1])


async def test_the_background_calls_of_a_cell_leave_the_others_alone(redis: Redis, clock: Clock) -> None:
    driver = Driver(redis, clock, meta=META)
    for queue in QUEUES:
        await driver.store.submit([new_job(queue=queue), new_job(queue=queue, delay_us=SECOND)])
        await driver.claim(queue=queue)
    clock.advance(60 * SECOND)
    of_cell = [sum(META.cell_of(queue.name) == cell for queue in QUEUES) for cell in range(4)]
    assert [(await driver.store.reap(cell)).ended for cell in range(4)] == of_cell
    assert [(await driver.store.due(cell))[0] for cell in range(4)] == of_cell


async def test_a_server_that_forgot_its_scripts_is_sent_them_again(driver: Driver, clock: Clock) -> None:
    async def flush() -> None:
        await driver.redis.script_flush()

    await flush()
    job = new_job()
    await driver.store.submit([job])
    await flush()
    lease = await driver.claim_one()
    await flush()
    await driver.heartbeat(lease)
    await flush()
    await driver.release(lease)
    lease = await driver.claim_one()
    await flush()
    await driver.fail(lease, retry_after_us=SECOND)
    await flush()
    clock.advance(SECOND)
    assert (await driver.store.due(0))[0] == 1
    lease = await driver.claim_one()
    await flush()
    clock.advance(60 * SECOND)
    assert (await driver.store.reap(0)).ended == 1
    await flush()
    await driver.store.cancel(0, ref_of(job))
    await flush()
    await driver.store.handover("default")
    clock.advance(7_200 * SECOND)
    assert await driver.state(ref_of(job)) is State.CANCELLED
    await flush()
    assert await driver.store.forget(0) == 1
