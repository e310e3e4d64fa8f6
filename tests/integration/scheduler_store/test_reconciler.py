"""What is damaged is repaired, each kind of it; what is not is left alone, also under load."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from headworks_core.cells import Meta
from headworks_scheduler.domain.jobs import Filter, NewJob, Queue, State
from headworks_scheduler.reconciler import Reconciler
from headworks_scheduler.store.jobs import JobStore, StoreOptions
from headworks_scheduler.store.reconciling import ReconcileStore
from headworks_scheduler.store.redrives import RedriveStore
from redis.asyncio import Redis

from tests.integration.scheduler_store import contents
from tests.integration.scheduler_store.driver import (
    OPTIONS,
    SECOND,
    Clock,
    Driver,
    Hear,
    completion,
    failed,
    lease_of,
    new_job,
    new_jobs,
)


@pytest.fixture
def reconciler(redis: Redis, clock: Clock) -> Reconciler:
    """On the same store and clock as the driver."""
    return Reconciler(ReconcileStore(redis, Meta(), lease_us=OPTIONS["lease_us"], now_us=clock), 1)


async def one_pass(reconciler: Reconciler) -> dict[str, int]:
    """Look at everything once; what was repaired meanwhile."""
    before = reconciler.counters.copy()
    for _ in range(10_000):
        if await reconciler.step():
            return dict(reconciler.counters - before)
    raise AssertionError("a pass never ends")


async def all_states(driver: Driver) -> dict[State, str]:
    """One job in each state, with a lane of its own; their refs."""
    refs: dict[State, str] = {}
    for state in (State.SUCCEEDED, State.DEAD, State.CANCELLED, State.LEASED, State.READY, State.SCHEDULED):
        delay_us = 100 * SECOND if state is State.SCHEDULED else 0
        expire_us = 300 * SECOND if state in (State.READY, State.SCHEDULED) else 0
        refs[state] = await driver.submit(lane="l", delay_us=delay_us, expire_us=expire_us)
        if state in (State.SUCCEEDED, State.DEAD, State.LEASED):
            lease = await driver.claim_one()
            if state is State.SUCCEEDED:
                await driver.complete(lease)
            elif state is State.DEAD:
                await driver.fail(lease, retryable=False)
        elif state is State.CANCELLED:
            await driver.store.cancel(0, refs[state])
    return refs


Q = "{hw:0}:q:default"
READY_KEY, LANES = f"{Q}:ready:5:ann:l", f"{Q}:lanes:5:ann"
Damage = Callable[[Redis, dict[State, str]], Awaitable[object]]


def tail(ref: str) -> str:
    """The last part of a ref."""
    return ref.rpartition("/")[2]


LOST: list[tuple[str, Damage, dict[str, int]]] = [
    ("a lease", lambda r, of: r.zrem("{hw:0}:leases", of[State.LEASED]), {"leases": 1}),
    ("a delay", lambda r, of: r.zrem("{hw:0}:timers", "r" + of[State.SCHEDULED]), {"timers": 1}),
    ("an expiry", lambda r, of: r.zrem("{hw:0}:timers", "x" + of[State.READY]), {"timers": 1}),
    ("all timers", lambda r, of: r.delete("{hw:0}:timers"), {"timers": 3}),
    ("a place in the lane", lambda r, of: r.zrem(READY_KEY, tail(of[State.READY])), {"ready": 1}),
    ("a lane", lambda r, of: r.delete(LANES), {"lanes": 1}),
    ("a tenant", lambda r, of: r.delete(f"{Q}:tenants:5"), {"lanes": 1}),
    ("a level", lambda r, of: r.delete(f"{Q}:levels"), {"lanes": 1}),
    ("an end", lambda r, of: r.zrem(f"{Q}:finished", of[State.CANCELLED]), {"finished": 1}),
    ("all ends", lambda r, of: r.delete(f"{Q}:finished"), {"finished": 3}),
    ("the queues with ends", lambda r, of: r.delete("{hw:0}:ended"), {"finished": 1}),
    ("a dead letter", lambda r, of: r.zrem(f"{Q}:dead", of[State.DEAD]), {"dead": 1}),
    ("a tenant's dead letters", lambda r, of: r.delete(f"{Q}:dead:ann"), {"dead": 1}),
    ("the list", lambda r, of: r.delete(f"{Q}:jobs:ann"), {"listed": 6}),
    ("the counters", lambda r, of: r.delete(f"{Q}:counts"), {"counts": 4}),
    ("a counter that is right", lambda r, of: r.hset(f"{Q}:counts", "leased", "9"), {"counts": 1}),
    ("a counter that is 0", lambda r, of: r.hset(f"{Q}:counts", "waiting:bob", "-3"), {"counts": 1}),
]


@pytest.mark.parametrize(("damage", "repairs"), [row[1:] for row in LOST], ids=[row[0] for row in LOST])
async def test_what_was_lost_is_put_back(
    driver: Driver, reconciler: Reconciler, damage: Damage, repairs: dict[str, int]
) -> None:
    refs = await all_states(driver)
    whole = await contents.stored(driver.redis)
    await damage(driver.redis, refs)
    assert await contents.stored(driver.redis) != whole
    assert await one_pass(reconciler) == repairs
    mended = await contents.stored(driver.redis)
    for store in (whole, mended):
        store["{hw:0}:leases"] = set(store["{hw:0}:leases"])  # the lease begins again
    assert mended == whole
    assert await one_pass(reconciler) == {}


STALE: list[tuple[str, str, str, int]] = [
    ("stale_leases", "{hw:0}:leases", "READY", 1),
    ("stale_timers", "{hw:0}:timers", "rREADY", 1),
    ("stale_timers", "{hw:0}:timers", "xLEASED", 1),
    ("stale_finished", f"{Q}:finished", "SCHEDULED", 1),
    ("stale_finished", "{hw:0}:finished", "LEASED", 1),
    ("stale_dead", f"{Q}:dead", "SUCCEEDED", 1),
    ("stale_dead_of", f"{Q}:dead:ann", "-CANCELLED", 1),
    ("stale_ready", READY_KEY, "-LEASED", 1),
    ("stale_ready", f"{Q}:ready:4:ann:l", "-READY", 1),
    ("stale_ready", f"{Q}:ready:5:ann:other", "-READY", 1),
]


@pytest.mark.parametrize(("kind", "key", "member", "repaired"), STALE)
async def test_an_entry_of_a_job_in_another_state_is_taken_out(
    driver: Driver, reconciler: Reconciler, kind: str, key: str, member: str, repaired: int
) -> None:
    refs = await all_states(driver)
    whole = await contents.stored(driver.redis)
    for state, ref in refs.items():
        member = member.replace("-" + state.name, tail(ref)).replace(state.name, ref)
    await driver.redis.zadd(key, {member: driver.clock.now_us + 1_000 * SECOND})
    assert await one_pass(reconciler) == {kind: repaired}
    assert await contents.stored(driver.redis) == whole


@pytest.mark.parametrize("state", list(State))
async def test_entries_of_a_job_that_is_gone_are_taken_out(
    driver: Driver, reconciler: Reconciler, state: State
) -> None:
    refs = await all_states(driver)
    await driver.redis.delete(f"{{hw:0}}:job:{refs[state]}")
    repairs = await one_pass(reconciler)
    assert {"stale_listed"} < repairs.keys()
    assert all(kind.startswith("stale_") or kind == "counts" for kind in repairs)
    everything = str(await contents.stored(driver.redis))
    assert tail(refs[state]) not in everything.replace(str(await driver.outbox()), "")
    assert await one_pass(reconciler) == {}


async def test_the_last_stale_entry_of_a_lane_takes_the_lane_with_it(driver: Driver, reconciler: Reconciler) -> None:
    ref = await driver.submit()
    await driver.redis.delete(f"{{hw:0}}:job:{ref}")
    await one_pass(reconciler)
    assert contents.order_keys(await contents.stored(driver.redis)) == set()


async def test_a_ready_job_that_was_lost_runs_again(driver: Driver, reconciler: Reconciler, hear: Hear) -> None:
    ref = await driver.submit()
    await driver.redis.zrem(f"{Q}:ready:5:ann:", tail(ref))
    assert await driver.claim() == []
    async with hear("{hw:0}:replica:one") as heard:
        assert await one_pass(reconciler) == {"ready": 1}
        assert await heard() == [("{hw:0}:replica:one", "wake default")]
    assert (await driver.claim_one()).ref == ref


async def test_a_lost_lease_ends_after_its_full_length(driver: Driver, reconciler: Reconciler) -> None:
    ref = await driver.submit()
    await driver.claim_one()
    await driver.redis.delete("{hw:0}:leases")
    await one_pass(reconciler)
    driver.clock.advance(OPTIONS["lease_us"] - 1)
    assert (await driver.store.reap(0)).ended == 0
    driver.clock.advance(1)
    assert (await driver.store.reap(0)).ended == 1
    assert await driver.state(ref) is State.READY


async def test_jobs_of_schema_1_0_are_listed_and_kept_by_their_queue(driver: Driver, reconciler: Reconciler) -> None:
    ref = await driver.submit()
    await driver.complete(await driver.claim_one())
    whole = await contents.stored(driver.redis)
    await driver.redis.delete(f"{Q}:finished", f"{Q}:jobs:ann", "{hw:0}:ended")
    await driver.redis.zadd("{hw:0}:finished", {ref: driver.clock.now_us + SECOND})
    assert await one_pass(reconciler) == {"listed": 1, "finished": 2}
    assert await contents.stored(driver.redis) == whole


async def test_large_indexes_are_walked_in_slices(driver: Driver, reconciler: Reconciler) -> None:
    await driver.store.submit(new_jobs(500))
    await driver.store.submit(new_jobs(300, lane="x"))
    await driver.claim(450)
    stale = {f"ann/default/{n}": n for n in range(1_200)}
    await driver.redis.zadd(f"{Q}:finished", stale)
    for n in range(130):
        await driver.redis.zadd(f"{Q}:ready:3:t{n}:", {"x": n})
    assert await one_pass(reconciler) == {"stale_finished": 1_200, "stale_ready": 130}
    assert await one_pass(reconciler) == {}


async def test_too_much_to_count_is_said(driver: Driver, clock: Clock) -> None:
    store = ReconcileStore(driver.redis, Meta(), lease_us=1, now_us=clock)
    await driver.submit()
    await driver.redis.hset(f"{Q}:counts", "waiting", "7")
    await driver.redis.zadd("{hw:0}:leases", {f"ann/default/{n}": 1 for n in range(2_501)})
    assert await store.counts(0, ["default"]) == (False, {})
    await driver.redis.delete("{hw:0}:leases")
    assert await store.counts(0, ["default"]) == (True, {"counts": 1})


async def test_keys_of_others_do_not_matter(driver: Driver, reconciler: Reconciler) -> None:
    await driver.submit()
    strange = [
        "{hw:0}:job:x",
        "{hw:0}:job:a/b",
        "{hw:9}:job:a/b/c",
        "{hw:0}:q:UPPER:finished",
        "{hw:0}:\xff",
        "hw:meta",
    ]
    for key in strange:
        await driver.redis.hset(key, "state", "2")
    assert await one_pass(reconciler) == {}
    assert reconciler.passes == 1


async def test_nothing_is_repaired_under_load(redis: Redis) -> None:
    """Two queues in two cells; every transition there is, from several sides at once, by the server's clock."""
    meta = Meta(cells=2)
    queues = [Queue("default"), Queue("mail", max_finished=50)]
    options = StoreOptions("one", lease_us=20_000, delivery_us=20_000, retention_us=200_000, queues=queues)
    store = JobStore(redis, meta, options)
    redrives = RedriveStore(redis, meta, outbox_max=10_000_000)
    reconciler = Reconciler(ReconcileStore(redis, meta, lease_us=20_000), meta.cells)
    stopped = asyncio.Event()
    done: dict[str, int] = {}

    async def forever(name: str, step: Callable[[random.Random], Awaitable[Any]]) -> None:
        dice = random.Random(name)
        while not stopped.is_set():
            await step(dice)
            done[name] = done.get(name, 0) + 1

    async def submit(dice: random.Random) -> None:
        jobs: list[NewJob] = [
            new_job(
                queue=dice.choice(queues),
                tenant=dice.choice("abc"),
                lane=dice.choice("xyz"),
                level=dice.randrange(3),
                delay_us=dice.choice([0, 0, 0, 1_000, 50_000]),
                expire_us=dice.choice([0, 0, 10_000, 100_000]),
            )
            for _ in range(30)
        ]
        await store.submit(jobs)
        await store.cancel(meta.cell_of(jobs[0].queue.name), f"{jobs[0].tenant}/{jobs[0].queue.name}/{jobs[0].tail}")

    async def work(dice: random.Random) -> None:
        queue = dice.choice(queues)
        cell = meta.cell_of(queue.name)
        leases = [lease_of(job) for job in await store.claim(queue, [("w", 30)])]
        await store.complete(cell, [completion(lease) for lease in leases[:10]])
        await store.fail(
            cell, [failed(lease, retryable=dice.random() < 0.5, retry_after_us=0) for lease in leases[10:20]]
        )
        await store.heartbeat(cell, leases[20:])

    async def tend(dice: random.Random) -> None:
        for cell in range(meta.cells):
            await store.due(cell)
            await store.reap(cell)
            await store.forget(cell)
        for queue in queues:
            await redrives.redrive_dead(queue, dice.choice("abc"), Filter(), limit=20)

    tasks = [asyncio.create_task(forever(*args)) for args in (("s", submit), ("w", work), ("v", work), ("t", tend))]
    try:
        async with asyncio.timeout(60):
            while reconciler.passes < 8 or min(done.get(name, 0) for name in "swvt") < 50:
                await reconciler.step()
                assert not any(task.done() for task in tasks)
    finally:
        stopped.set()
        await asyncio.gather(*tasks)
    assert (dict(reconciler.counters), reconciler.counts_unchecked) == ({}, 0)
