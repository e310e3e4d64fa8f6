"""What the relay does with its cursor and its lease, seen through a sink that lands when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headworks_core.store import redis_client
from headworks_scheduler.domain.events import OutboxEntry
from headworks_scheduler.sinks import Refused, SinkUnavailable
from headworks_scheduler.store.outbox import Outbox
from redis.asyncio import Redis

from tests.integration.events.conftest import Relaying
from tests.integration.events.entries import ASIDE, OUTBOX, RELAY, entries_of, fields, new_ref, relay_field, write
from tests.support.wait import wait_until


class ToldFlight:
    """Lands, or fails, when the test says so."""

    def __init__(self, entries: list[OutboxEntry]) -> None:
        self.ids = [entry.id for entry in entries]
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def landed(self) -> None:
        await asyncio.shield(self.outcome)

    def land(self) -> None:
        self.outcome.set_result(None)

    def fail(self, error: Exception) -> None:
        self.outcome.set_exception(error)


class ToldSession:
    """Keeps what is sent."""

    def __init__(self, flights: list[ToldFlight], alone: list[bytes], lands: bool) -> None:
        self._flights = flights
        self._lands = lands
        self._alone = alone
        self._loaded: list[OutboxEntry] = []

    async def add(self, entry: OutboxEntry, *, alone: bool = False) -> None:
        self._loaded.append(entry)
        if alone:
            self._alone.append(entry.id)

    async def send(self) -> ToldFlight:
        flight, self._loaded = ToldFlight(self._loaded), []
        self._flights.append(flight)
        if self._lands:
            flight.land()
        return flight


class ToldSink:
    """Its flights so far, of all sessions."""

    def __init__(self, *, lands: bool = False) -> None:
        """`lands`: every flight does so by itself."""
        self._lands = lands
        self.flights: list[ToldFlight] = []
        self.alone: list[bytes] = []

    @asynccontextmanager
    async def session(self, cell: int) -> AsyncIterator[ToldSession]:
        yield ToldSession(self.flights, self.alone, self._lands)

    async def until_flights(self, count: int) -> None:
        """Wait until so many have been sent."""
        await wait_until(lambda: len(self.flights) >= count, what=f"{count} flights, there are {len(self.flights)}")


QUICK = {"window": 1, "linger_s": 0.0, "backoff_s": 0.01, "drain_s": 0.2}


async def cursor(redis: Redis) -> bytes | None:
    """Where the relay would go on."""
    return await relay_field(redis, "cursor")


async def until_cursor(redis: Redis, id_: bytes) -> None:
    """Wait until the cursor is there."""

    async def there() -> bool:
        return await cursor(redis) == id_

    await wait_until(there, what=f"cursor {id_!r}")


async def test_the_cursor_waits_for_the_first_unacknowledged_event(redis: Redis, relaying: Relaying) -> None:
    sink = ToldSink()
    ids = await write(redis, [fields(new_ref()) for _ in range(4)])
    async with relaying(sink, **QUICK):
        await sink.until_flights(3)
        sink.flights[1].land()
        sink.flights[2].land()
        await sink.until_flights(4)
        assert await cursor(redis) is None
        sink.flights[0].land()
        await until_cursor(redis, ids[2])
        assert await redis.xlen(OUTBOX) == 1


async def test_after_an_unknown_outcome_everything_behind_the_cursor_is_sent_again(
    redis: Redis, relaying: Relaying
) -> None:
    sink = ToldSink()
    ids = await write(redis, [fields(new_ref()) for _ in range(3)])
    async with relaying(sink, **QUICK):
        await sink.until_flights(3)
        sink.flights[0].land()
        await until_cursor(redis, ids[0])
        sink.flights[1].fail(SinkUnavailable("gone"))
        await sink.until_flights(5)
        assert [flight.ids for flight in sink.flights] == [[ids[0]], [ids[1]], [ids[2]], [ids[1]], [ids[2]]]


async def test_a_relay_that_lost_its_lease_moves_nothing(redis: Redis, relaying: Relaying, outbox: Outbox) -> None:
    sink = ToldSink()
    await write(redis, [fields(new_ref())])
    async with relaying(sink, **QUICK):
        await sink.until_flights(1)
        await redis.hset(RELAY, "until", 0)  # as if it had been silent for too long
        assert await outbox.lease("r2", 60_000_000) is not None
        before = await redis.hgetall(RELAY)
        sink.flights[0].land()
        await asyncio.wait_for(asyncio.shield(_waits(redis)), 10)
        assert await redis.hgetall(RELAY) == before
        assert await redis.xlen(OUTBOX) == 1


async def _waits(redis: Redis) -> None:
    """Return when a relay waits for somebody else's lease."""

    async def waiting() -> bool:
        clients = await redis.client_list()
        return any(client["cmd"] == "blpop" for client in clients)

    await wait_until(waiting)


async def test_a_lost_connection_to_redis_is_survived(relaying: Relaying, valkey_url: str) -> None:
    sink = ToldSink(lands=True)
    # The one connection of `ours` is the one that is spared.
    async with relaying(sink, **QUICK), redis_client(valkey_url, timeout_s=10, connections=1) as ours:
        (first,) = await write(ours, [fields(new_ref())])
        await until_cursor(ours, first)
        await ours.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]
        (last,) = await write(ours, [fields(new_ref())])
        await until_cursor(ours, last)


async def test_a_stopping_relay_records_what_still_arrives(redis: Redis, relaying: Relaying) -> None:
    sink = ToldSink()
    (only,) = await write(redis, [fields(new_ref())])
    async with relaying(sink, **{**QUICK, "drain_s": 5.0}) as relay:
        await sink.until_flights(1)
        relay.cancel()
        asyncio.get_running_loop().call_later(0.05, sink.flights[0].land)
        await asyncio.wait({relay})
        assert relay.cancelled()
    assert await cursor(redis) == only


async def test_a_failure_while_stopping_does_not_hide_that_the_relay_was_told_to(
    redis: Redis, relaying: Relaying
) -> None:
    sink = ToldSink()
    await write(redis, [fields(new_ref())])
    async with relaying(sink, **{**QUICK, "drain_s": 5.0}) as relay:
        await sink.until_flights(1)
        relay.cancel()
        asyncio.get_running_loop().call_later(0.05, sink.flights[0].fail, SinkUnavailable("gone"))
        await asyncio.wait({relay}, timeout=5)
        assert relay.cancelled()


async def test_a_refused_batch_is_sent_again_one_by_one_and_the_culprit_is_set_aside(
    redis: Redis, relaying: Relaying
) -> None:
    sink = ToldSink()
    ids = await write(redis, [fields(new_ref()) for _ in range(3)])
    async with relaying(sink, **{**QUICK, "window": 3}):
        await sink.until_flights(1)
        sink.flights[0].fail(Refused(ids, "no"))
        await sink.until_flights(2)
        assert sink.alone == ids
        sink.flights[1].fail(Refused([ids[1]], "not this one"))
        await sink.until_flights(3)
        assert sink.flights[2].ids == [ids[0], ids[2]]
        sink.flights[2].land()
        await until_cursor(redis, ids[2])
        ((aside, values),) = await entries_of(redis, ASIDE)
        assert (aside, values[b"reason"]) == (ids[1], b"not this one")
        (later,) = await write(redis, [fields(new_ref())])
        await sink.until_flights(4)
        assert later not in sink.alone
