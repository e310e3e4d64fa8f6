"""Pages are bounded whatever there is, and complete."""

from __future__ import annotations

import random
from typing import Any

import pytest
from headworks_core.cells import Meta
from headworks_scheduler.domain.jobs import Filter, Position, State
from headworks_scheduler.store.lists import ListStore
from redis.asyncio import Redis

from tests.integration.scheduler_store import contents
from tests.integration.scheduler_store.driver import Clock, Driver, lease_of, new_job, new_jobs


async def walk(
    lists: ListStore, wanted: Filter, *, size: int = 500, queue: str = "default"
) -> tuple[list[str], list[int]]:
    """The tails on all pages, and how many were on each."""
    found: list[str] = []
    sizes: list[int] = []
    after: Position | None = None
    while True:
        page = await lists.page(queue, "ann", wanted, size=size, after=after)
        found += [tail for tail, _ in page.jobs]
        sizes.append(len(page.jobs))
        after = page.after
        if after is None:
            return found, sizes


async def test_a_page_looks_at_a_bounded_number_of_jobs(redis: Redis, driver: Driver) -> None:
    lists = ListStore(redis, Meta(), scan_max=10)
    await driver.store.submit([new_job("rare", task="rare"), *new_jobs(34)])
    driver.clock.advance(1)
    await driver.store.submit(new_jobs(20))
    found, sizes = await walk(lists, Filter(task="rare"))
    assert found == ["rare"]
    assert len(sizes) == 6


async def test_a_few_leased_jobs_are_found_at_once_among_many(redis: Redis, driver: Driver, clock: Clock) -> None:
    held = []
    for _ in range(3):
        await driver.submit()
        held.append((await driver.claim_one()).ref.rpartition("/")[2])
        clock.advance(1)
    for _ in range(4):
        await driver.store.submit(new_jobs(500))
        clock.advance(1)
    page = await ListStore(redis, Meta()).page("default", "ann", Filter(state=State.LEASED), size=50)
    assert [tail for tail, _ in page.jobs] == held[::-1]
    assert page.after is None


async def test_leased_jobs_are_looked_for_among_all_when_a_cell_has_very_many(redis: Redis, driver: Driver) -> None:
    await driver.submit()
    held = (await driver.claim_one()).ref.rpartition("/")[2]
    await driver.store.submit(new_jobs(30))
    await redis.zadd("{hw:0}:leases", {f"bob/default/{n}": 1 for n in range(5_001)})
    found, sizes = await walk(ListStore(redis, Meta(), scan_max=10), Filter(state=State.LEASED))
    assert found == [held]
    assert len(sizes) == 4


@pytest.mark.parametrize("state", [State.LEASED, State.DEAD, State.READY, 0])
async def test_every_job_is_met_once_however_the_pages_fall(
    redis: Redis, driver: Driver, clock: Clock, state: int
) -> None:
    dice = random.Random(state)
    for _ in range(12):
        await driver.store.submit(new_jobs(dice.choice([1, 3, 20])))
        for lease in map(lease_of, await driver.claim(100)):
            fate = dice.choice([State.LEASED, State.DEAD, State.READY, State.SUCCEEDED])
            if fate is State.DEAD:
                await driver.fail(lease, retryable=False)
            elif fate is State.SUCCEEDED:
                await driver.complete(lease)
            elif fate is State.READY:
                await driver.release(lease)
        clock.advance(dice.choice([0, 0, 1]))
    stored = {}
    keys: Any = await redis.keys("{hw:0}:job:*")
    for key in keys:
        fields: Any = await redis.hgetall(key)
        tail = str(key, "ascii").rpartition("/")[2]
        if not state or int(fields[b"state"]) == state:
            stored[tail] = int(fields[b"finished" if state == State.DEAD else b"created"])
    for scan_max, size in ((500, 500), (500, 3), (4, 500), (7, 2)):
        found, _ = await walk(ListStore(redis, Meta(), scan_max=scan_max), Filter(state=state), size=size)
        assert found == sorted(stored, key=lambda tail: (stored[tail], tail), reverse=True)


async def test_the_basic_view_leaves_large_fields_in_redis(redis: Redis, driver: Driver) -> None:
    spec = b"\x0a\x01t\x12\x80\x80\x04" + b"x" * 65_536 + b"\x22\x01l"
    await driver.submit(spec=spec)
    lists = ListStore(redis, Meta())
    ((_, basic),) = (await lists.page("default", "ann", Filter(), size=1)).jobs
    ((_, full),) = (await lists.page("default", "ann", Filter(), size=1, full=True)).jobs
    assert basic["spec"] == b"\x0a\x01t\x22\x01l"
    assert full["spec"] == spec


async def test_a_list_changes_nothing(redis: Redis, driver: Driver) -> None:
    await driver.store.submit(new_jobs(3))
    await driver.claim(1)
    before = await contents.stored(redis)
    lists = ListStore(redis, Meta())
    for state in (0, *State):
        await walk(lists, Filter(state=state), size=1)
    assert await contents.stored(redis) == before
