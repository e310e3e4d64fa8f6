"""The outbox' scripts on a real server: the lease, its fence, the cursor, what is set aside."""

from __future__ import annotations

import asyncio

import pytest
from headworks_scheduler.store.outbox import Outbox, RelayLease, RelayLeaseLost, Unsendable, blocking_client
from redis.asyncio import Redis

from tests.integration.events.entries import ASIDE, OUTBOX, RELAY, entries_of, fields, new_ref, packed, write

LEASE_US = 5_000_000
START_US = 1_788_256_800_000_000


class Clock:
    """The time that the scripts are told."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(redis: Redis, clock: Clock) -> Outbox:
    """The outbox of cell 0 at the time of `clock`; not for waiting reads."""
    return Outbox(redis, redis, "{hw:0}", now_us=clock)


async def taken(outbox: Outbox, owner: str = "r1") -> RelayLease:
    """The lease, which nobody holds."""
    lease = await outbox.lease(owner, LEASE_US)
    assert lease is not None
    return lease


async def test_one_replica_at_a_time_has_the_lease(timed: Outbox) -> None:
    lease = await taken(timed, "r1")
    assert await timed.lease("r2", LEASE_US) is None
    assert lease.cursor == b"0-0"


async def test_the_lease_of_a_dead_owner_ends(timed: Outbox, clock: Clock) -> None:
    first = await taken(timed, "r1")
    clock.now_us += LEASE_US - 1
    assert await timed.lease("r2", LEASE_US) is None
    clock.now_us += 1
    second = await taken(timed, "r2")
    assert second.fence > first.fence


async def test_a_lease_that_ran_out_is_renewed_unless_somebody_took_it(timed: Outbox, clock: Clock) -> None:
    lease = await taken(timed, "r1")
    clock.now_us += 3 * LEASE_US
    await timed.renew(lease, "r1", LEASE_US)
    assert await timed.lease("r2", LEASE_US) is None
    clock.now_us += LEASE_US
    await taken(timed, "r2")
    with pytest.raises(RelayLeaseLost):
        await timed.renew(lease, "r1", LEASE_US)


async def test_a_released_lease_wakes_a_waiting_replica_at_once(outbox: Outbox) -> None:
    lease = await taken(outbox, "r1")
    waiting = asyncio.create_task(outbox.wait_released(2.0))
    async with asyncio.timeout(1.0):
        await outbox.release(lease)
        await waiting
    assert await outbox.lease("r2", LEASE_US) is not None


async def test_whoever_takes_the_lease_removes_the_token_of_its_release(outbox: Outbox, redis: Redis) -> None:
    await outbox.release(await taken(outbox))
    await taken(outbox)
    assert await redis.keys("*") == [RELAY.encode()]


async def test_a_stale_owner_changes_nothing(timed: Outbox, clock: Clock, redis: Redis) -> None:
    ids = await write(redis, [fields(new_ref()) for _ in range(3)])
    stale = await taken(timed, "r1")
    clock.now_us += LEASE_US
    await taken(timed, "r2")
    before = await redis.hgetall(RELAY)
    with pytest.raises(RelayLeaseLost):
        await timed.ack(stale, ids[2])
    with pytest.raises(RelayLeaseLost):
        await timed.set_aside(stale, [Unsendable(ids[0], b"a/b/c", "no")])
    await timed.release(stale)
    assert await redis.hgetall(RELAY) == before
    assert await redis.xlen(OUTBOX) == 3
    assert not await redis.exists(ASIDE)


async def test_an_ack_moves_the_cursor_and_removes_what_lies_behind_it(outbox: Outbox, redis: Redis) -> None:
    ids = await write(redis, [fields(new_ref()) for _ in range(250)])
    lease = await taken(outbox)
    await outbox.ack(lease, ids[229])
    assert [id_ for id_, _ in await entries_of(redis, OUTBOX)] == ids[230:]
    await outbox.release(lease)
    assert (await taken(outbox)).cursor == ids[229]


async def test_acknowledged_entries_stay_for_replay(timed: Outbox, clock: Clock, redis: Redis) -> None:
    for second in range(5):
        await redis.xadd(OUTBOX, packed(fields(new_ref())), id=f"{START_US // 1000 + second * 1000}-0")
    lease = await taken(timed)
    clock.now_us = START_US + 4_000_000
    cursor = f"{START_US // 1000 + 3000}-0".encode()
    await timed.ack(lease, cursor, keep_us=2_000_000)
    assert await redis.xlen(OUTBOX) == 3
    await timed.ack(lease, cursor, keep_us=0)
    assert await redis.xlen(OUTBOX) == 1


async def test_an_entry_behind_the_cursor_is_never_removed_however_old(
    timed: Outbox, clock: Clock, redis: Redis
) -> None:
    ids = await write(redis, [fields(new_ref()) for _ in range(2)])
    lease = await taken(timed)
    clock.now_us = START_US * 2
    await timed.ack(lease, ids[0], keep_us=1)
    assert [id_ for id_, _ in await entries_of(redis, OUTBOX)] == ids[1:]


async def test_a_full_redis_can_still_drain(outbox: Outbox, redis: Redis) -> None:
    ids = await write(redis, [fields(new_ref()) for _ in range(3)])
    await redis.config_set("maxmemory", "1")
    try:
        lease = await taken(outbox)
        await outbox.renew(lease, "r1", LEASE_US)
        assert await outbox.set_aside(lease, [Unsendable(ids[0], b"a/b/c", "no")]) == 1
        await outbox.ack(lease, ids[1])
        await outbox.release(lease)
    finally:
        await redis.config_set("maxmemory", "0")
    assert await redis.xlen(OUTBOX) == 1
    assert await redis.xlen(ASIDE) == 1


async def test_setting_aside_again_after_a_crash_adds_nothing(outbox: Outbox, redis: Redis) -> None:
    refs = [new_ref(), new_ref()]
    ids = await write(redis, [fields(ref) for ref in refs])
    lease = await taken(outbox)
    events = [Unsendable(id_, ref.encode(), "too large") for id_, ref in zip(ids, refs, strict=True)]
    assert await outbox.set_aside(lease, events[:1]) == 1
    assert await outbox.set_aside(lease, events) == 1
    found = await entries_of(redis, ASIDE)
    assert [id_ for id_, _ in found] == ids
    assert found[0][1][b"reason"] == b"too large"
    assert found[0][1][b"event"].startswith(refs[0].encode() + b" succeeded ")


async def test_all_jobs_with_events_aside_are_known_however_many(outbox: Outbox, redis: Redis) -> None:
    refs = [new_ref() for _ in range(2300)]
    await write(redis, [fields(ref) for ref in refs], ASIDE)
    assert await outbox.refs_aside() == {ref.encode() for ref in refs}


async def test_reading_waits_for_the_next_entries_and_gives_them_in_order(outbox: Outbox, redis: Redis) -> None:
    ids = await write(redis, [fields(new_ref(), task=f"t{n}") for n in range(5)])
    assert [entry.task for entry in await outbox.read(b"0-0", 3)] == [b"t0", b"t1", b"t2"]
    assert [entry.id for entry in await outbox.read(ids[2], 10)] == ids[3:]
    reading = asyncio.create_task(outbox.read(ids[4], 10))
    ref = new_ref()
    await write(redis, [fields(ref, 7, "dead", failure=b"f", trace="x")])
    (entry,) = await reading
    assert (entry.ref, entry.sequence, entry.type, entry.failure, entry.trace) == (
        ref.encode(),
        b"7",
        b"dead",
        b"f",
        b"x",
    )


async def test_a_foreign_entry_is_read_as_an_empty_one(outbox: Outbox, redis: Redis) -> None:
    await redis.xadd(OUTBOX, {"hello": "world"})
    (entry,) = await outbox.read(b"0-0", 10)
    assert entry.id
    assert not any(entry[1:])


async def test_two_waiting_reads_do_not_share_a_connection(redis: Redis, valkey_url: str) -> None:
    async with blocking_client(valkey_url, 2) as blocking:
        cells = [Outbox(redis, blocking, f"{{hw:{cell}}}") for cell in range(2)]
        reading = [asyncio.create_task(cell.read(b"0-0", 1)) for cell in cells]
        await write(redis, [fields(new_ref())], "{hw:1}:outbox")
        async with asyncio.timeout(1.0):
            assert len(await reading[1]) == 1
        await write(redis, [fields(new_ref())], "{hw:0}:outbox")
        assert len(await reading[0]) == 1
