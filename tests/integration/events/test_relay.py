"""The relay between a real Redis and a real broker: everything arrives, in order, whoever dies."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import Message, Producer
from headworks_devkit.backends import KafkaBackend
from headworks_scheduler.domain.events import OutboxEntry
from headworks_scheduler.sinks import SinkUnavailable
from headworks_scheduler.sinks.kafka import Flight, KafkaOptions, KafkaSession, KafkaSink
from redis.asyncio import Redis

from tests.integration.events.brokers import OwnBroker, own_broker
from tests.integration.events.conftest import Relaying
from tests.integration.events.entries import (
    ASIDE,
    OUTBOX,
    entries_of,
    fields,
    histories,
    name_of,
    new_ref,
    relay_field,
    write,
)
from tests.integration.events.topics import create, new_topic, tapped
from tests.support.processes import child
from tests.support.wait import wait_until

JOBS, EVENTS = 400, 5


def sink(bootstrap: str, topic: str, **options: object) -> KafkaSink:
    """A sink that makes topics of four partitions."""
    return KafkaSink(KafkaOptions(bootstrap, topic, partitions=4, **options))  # type: ignore[arg-type]


@pytest.fixture
async def topic(kafka: KafkaBackend) -> str:
    """A topic of four partitions that nobody else uses."""
    name = new_topic()
    await create(kafka.bootstrap, name)
    return name


@pytest.fixture
async def broker() -> AsyncIterator[OwnBroker]:
    async with own_broker() as broker:
        yield broker


async def drained(redis: Redis) -> None:
    """Wait until nothing is left in the outbox."""

    async def empty() -> bool:
        return await redis.xlen(OUTBOX) == 0

    await wait_until(empty, 30, what="an empty outbox")


async def write_slowly(redis: Redis, entries: Sequence[dict[str, str | int | bytes]]) -> None:
    """Write over about half a second, so that something happens in the middle."""
    for start in range(0, len(entries), 50):
        await write(redis, entries[start : start + 50])
        await asyncio.sleep(0.015)


async def test_every_event_arrives_in_order_per_job_and_without_a_gap(
    redis: Redis, kafka: KafkaBackend, topic: str, relaying: Relaying
) -> None:
    refs, entries = histories(JOBS, EVENTS)
    async with tapped(kafka.bootstrap, topic) as tap, relaying(sink(kafka.bootstrap, topic), window=100):
        for start in range(0, len(entries), 250):
            ids = await write(redis, entries[start : start + 250])
        await tap.until_events(len(entries))
        await drained(redis)
        assert tap.sequences() == {name_of(ref): [1, 2, 3, 4, 5] for ref in refs}
        assert await relay_field(redis, "cursor") == ids[-1]


async def test_events_that_waited_for_the_first_relay_arrive(
    redis: Redis, kafka: KafkaBackend, relaying: Relaying
) -> None:
    name = new_topic()  # missing: the relay makes it
    refs, entries = histories(50, 2)
    await write(redis, entries)
    async with relaying(sink(kafka.bootstrap, name)):
        await drained(redis)
    async with tapped(kafka.bootstrap, name) as tap:
        await tap.until_events(100)
        assert tap.sequences() == {name_of(ref): [1, 2] for ref in refs}


async def test_a_relay_killed_in_the_middle_loses_nothing_and_its_successor_keeps_the_order(
    redis: Redis, valkey_url: str, kafka: KafkaBackend, topic: str, relaying: Relaying
) -> None:
    refs, entries = histories(JOBS, EVENTS)
    argv = [sys.executable, "-m", "tests.integration.events.relay_process", valkey_url, kafka.bootstrap, topic, "r1"]
    async with tapped(kafka.bootstrap, topic) as tap, child("relay", argv) as first:
        await write(redis, entries[:200])
        await tap.until_events(200)  # it relays, and holds the lease
        async with relaying(sink(kafka.bootstrap, topic), replica="r2", window=100):
            writing = asyncio.create_task(write_slowly(redis, entries[200:]))
            await tap.until_events(600)
            await first.kill()
            await tap.until_events(len(entries))
            await writing
            await drained(redis)
            assert await relay_field(redis, "owner") == b"r2"
        assert tap.first_deliveries() == {name_of(ref): [1, 2, 3, 4, 5] for ref in refs}


async def test_a_relay_that_stops_hands_over_at_once(
    redis: Redis, kafka: KafkaBackend, topic: str, relaying: Relaying
) -> None:
    async with tapped(kafka.bootstrap, topic) as tap, relaying(sink(kafka.bootstrap, topic), replica="r1") as first:
        await write(redis, [fields(new_ref())])
        await tap.until_events(1)
        async with relaying(sink(kafka.bootstrap, topic), replica="r2"):
            first.cancel()
            await write(redis, [fields(new_ref())])
            started = time.monotonic()
            await tap.until_events(2)
            assert time.monotonic() - started < 2.0  # a lease lasts 5 s
            assert await relay_field(redis, "owner") == b"r2"
            assert len(tap.records) == 2


async def test_two_replicas_share_the_cells_and_send_no_event_twice(
    redis: Redis, kafka: KafkaBackend, topic: str, relaying: Relaying
) -> None:
    refs = [new_ref() for _ in range(300)]
    sinks = [sink(kafka.bootstrap, topic) for _ in range(2)]
    async with (
        tapped(kafka.bootstrap, topic) as tap,
        relaying(sinks[0], replica="r1", cells=3),
        relaying(sinks[1], replica="r2", cells=3),
    ):
        for cell in range(3):
            await write(redis, [fields(ref) for ref in refs[cell::3]], f"{{hw:{cell}}}:outbox")
        await tap.until_events(300)
        assert sorted(tap.sequences()) == sorted(name_of(ref, n % 3) for n, ref in enumerate(refs))
        assert len(tap.records) == 300


async def test_a_broker_that_hangs_and_comes_back_loses_nothing(
    redis: Redis, broker: OwnBroker, relaying: Relaying
) -> None:
    name = new_topic()
    await create(broker.bootstrap, name)
    refs, entries = histories(100, EVENTS)
    # Shorter than the broker's absence: the producer is dropped, and what was under way is sent again.
    async with relaying(sink(broker.bootstrap, name, stall_s=0.5), window=50):
        await write(redis, entries[:200])
        await drained(redis)
        broker.process.pause()
        await write(redis, entries[200:])
        await asyncio.sleep(1.5)  # the absence itself
        assert await redis.xlen(OUTBOX) == 300
        broker.process.resume()
        await drained(redis)
    async with tapped(broker.bootstrap, name) as tap:
        await tap.until_events(len(entries))
        assert tap.first_deliveries() == {name_of(ref): [1, 2, 3, 4, 5] for ref in refs}


@pytest.mark.parametrize("how", ["pause", "kill"])
async def test_a_relay_stops_in_time_when_the_broker_is_gone(
    redis: Redis, broker: OwnBroker, relaying: Relaying, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = new_topic()
    await create(broker.bootstrap, name)
    watched = WatchedSink(sink(broker.bootstrap, name))
    async with relaying(watched, drain_s=0.5) as relay:
        await write(redis, [fields(new_ref())])
        await drained(redis)
        if how == "pause":
            broker.process.pause()
        else:
            await broker.process.kill()
        watched.sent.clear()
        await write(redis, [fields(new_ref()) for _ in range(10)])
        await watched.sent.wait()
        started = time.monotonic()
        relay.cancel()
        await asyncio.wait({relay})
        assert time.monotonic() - started < 4.0
    assert await redis.xlen(OUTBOX) == 10
    assert await relay_field(redis, "until") is None
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_the_log_stays_short_while_the_broker_is_away(
    redis: Redis, broker: OwnBroker, relaying: Relaying, caplog: pytest.LogCaptureFixture
) -> None:
    name = new_topic()
    await create(broker.bootstrap, name)
    watched = WatchedSink(sink(broker.bootstrap, name))
    async with relaying(watched, drain_s=0.1):
        await write(redis, [fields(new_ref())])
        await drained(redis)
        await broker.process.kill()
        watched.sent.clear()
        await write(redis, [fields(new_ref())])
        await watched.sent.wait()
        await asyncio.sleep(2.0)  # about ten attempts
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("aiokafka")]
    assert len(lines) < 10, lines


class WatchedSink:
    """The sink inside, which says when something was sent."""

    def __init__(self, inner: KafkaSink) -> None:
        self._inner = inner
        self.sent = asyncio.Event()

    @asynccontextmanager
    async def session(self, cell: int) -> AsyncIterator[WatchedSession]:
        async with self._inner.session(cell) as session:
            yield WatchedSession(session, self.sent)


class WatchedSession:
    """The session inside, likewise."""

    def __init__(self, inner: KafkaSession, sent: asyncio.Event) -> None:
        self._inner = inner
        self._sent = sent

    async def add(self, entry: OutboxEntry, *, alone: bool = False) -> None:
        await self._inner.add(entry, alone=alone)

    async def send(self) -> Flight:
        flight = await self._inner.send()
        self._sent.set()
        return flight


async def test_a_broker_that_was_never_there_is_waited_for(redis: Redis, relaying: Relaying) -> None:
    await write(redis, [fields(new_ref())])
    async with relaying(sink("127.0.0.1:1", "t"), backoff_s=0.01, backoff_max_s=0.05) as relay:

        async def tried_again() -> bool:
            fence = int(await relay_field(redis, "fence") or 0)
            seen.add(fence)
            return len(seen) > 3

        seen: set[int] = {0}
        await wait_until(tried_again)
        assert not relay.done()
    assert await redis.xlen(OUTBOX) == 1


async def test_an_event_too_large_is_set_aside_and_later_ones_of_its_job_wait_behind_it(
    redis: Redis, kafka: KafkaBackend, topic: str, relaying: Relaying
) -> None:
    large, other = new_ref(), new_ref()
    written = [
        fields(large, 1, "retrying"),
        fields(large, 2, "retrying", task="x" * 3000),
        fields(other, 1),
        fields(large, 3),
        fields(other, 2),
    ]
    ids = await write(redis, written)
    async with tapped(kafka.bootstrap, topic) as tap:
        async with relaying(sink(kafka.bootstrap, topic, max_record_bytes=2000)):
            await drained(redis)
        assert [id_ for id_, _ in await entries_of(redis, ASIDE)] == [ids[1], ids[3]]
        reasons = [values[b"reason"].decode() for _, values in await entries_of(redis, ASIDE)]
        assert "more than 2000" in reasons[0]
        assert "behind" in reasons[1]
        (later,) = await write(redis, [fields(large, 4)])
        async with relaying(sink(kafka.bootstrap, topic)):  # another tenure knows it too
            await drained(redis)
        assert [id_ for id_, _ in await entries_of(redis, ASIDE)] == [ids[1], ids[3], later]
        await tap.until_events(3)
        assert tap.sequences() == {name_of(large): [1], name_of(other): [1, 2]}


@pytest.mark.kafka
async def test_an_event_that_the_broker_refuses_is_found_in_its_batch_and_set_aside(
    redis: Redis, kafka: KafkaBackend, relaying: Relaying
) -> None:
    name = new_topic()
    await create(kafka.bootstrap, name, configs={"max.message.bytes": "20000"})
    refused, others = new_ref(), [new_ref() for _ in range(40)]
    entries = [fields(ref, 1, "retrying") for ref in [*others, refused]]
    entries += [fields(refused, 2, task="x" * 30000), fields(refused, 3)]
    entries += [fields(ref, 2) for ref in others]
    ids = await write(redis, entries)
    async with tapped(kafka.bootstrap, name) as tap:
        async with relaying(sink(kafka.bootstrap, name)):
            await drained(redis)
        assert [id_ for id_, _ in await entries_of(redis, ASIDE)] == [ids[41], ids[42]]
        await tap.until_events(81)
        assert tap.first_deliveries() == {name_of(refused): [1], **{name_of(ref): [1, 2] for ref in others}}


@pytest.mark.kafka
async def test_nothing_overtakes_an_event_that_the_broker_refuses(
    redis: Redis, kafka: KafkaBackend, relaying: Relaying
) -> None:
    name = new_topic()
    await create(kafka.bootstrap, name, configs={"max.message.bytes": "20000"})
    ref = new_ref()
    await write(redis, [fields(ref, 1, "retrying", task="x" * 30000), fields(ref, 2, "retrying"), fields(ref, 3)])
    async with tapped(kafka.bootstrap, name) as tap:
        async with relaying(sink(kafka.bootstrap, name), window=1, linger_s=0.0):
            await drained(redis)
        assert len(await entries_of(redis, ASIDE)) == 3
        (_,) = await write(redis, [fields(new_ref())])
        async with relaying(sink(kafka.bootstrap, name)):
            await tap.until_events(1)
        assert name_of(ref) not in tap.sequences()


async def test_a_foreign_entry_is_set_aside_and_holds_up_nobody(
    redis: Redis, kafka: KafkaBackend, topic: str, relaying: Relaying
) -> None:
    await redis.xadd(OUTBOX, {"hello": "world"})
    await write(redis, [fields(new_ref())])
    async with tapped(kafka.bootstrap, topic) as tap, relaying(sink(kafka.bootstrap, topic)):
        await tap.until_events(1)
        await drained(redis)
    ((_, values),) = await entries_of(redis, ASIDE)
    assert values[b"reason"].startswith(b"malformed entry")
    assert values[b"hello"] == b"world"


async def test_each_tenant_may_have_a_topic(redis: Redis, kafka: KafkaBackend, relaying: Relaying) -> None:
    template = new_topic().replace(".v1", ".{tenant}.v1")
    refs = {tenant: [new_ref(tenant) for _ in range(20)] for tenant in ("acme", "globex")}
    await write(redis, [fields(ref) for pair in zip(*refs.values(), strict=True) for ref in pair])
    async with relaying(sink(kafka.bootstrap, template)):
        await drained(redis)
    for tenant, expected in refs.items():
        async with tapped(kafka.bootstrap, template.replace("{tenant}", tenant)) as tap:
            await tap.until_events(20)
            assert sorted(tap.sequences()) == sorted(map(name_of, expected))


async def test_a_job_has_the_partition_that_librdkafkas_default_gives_its_name(
    redis: Redis, kafka: KafkaBackend, topic: str, relaying: Relaying
) -> None:
    refs = [new_ref() for _ in range(30)]
    await write(redis, [fields(ref) for ref in refs])
    async with tapped(kafka.bootstrap, topic) as tap:
        async with relaying(sink(kafka.bootstrap, topic)):
            await drained(redis)
        await tap.until_events(30)
    ours = {record.key.decode(): record.partition for record in tap.records if record.key}
    theirs: dict[str, int | None] = {}

    def told(_: object, message: Message) -> None:
        theirs[(message.key() or b"").decode()] = message.partition()

    other = Producer({"bootstrap.servers": kafka.bootstrap})
    for name in ours:
        other.produce(topic, b"x", key=name.encode(), on_delivery=told)
    assert await asyncio.to_thread(other.flush, 20) == 0
    assert ours == theirs
    assert len(set(ours.values())) == 4


@pytest.mark.kafka
async def test_a_topic_that_cannot_be_had_is_named(kafka: KafkaBackend) -> None:
    wrong = sink(kafka.bootstrap, "not a topic")
    async with wrong.session(0) as session:
        with pytest.raises(SinkUnavailable, match="not a topic"):
            await session.add(entry_of(fields(new_ref())))


def entry_of(values: dict[str, str | int | bytes]) -> OutboxEntry:
    """The entry that is read where `values` were written."""
    texts = [value if isinstance(value, bytes) else str(value).encode() for value in values.values()]
    return OutboxEntry(b"1-0", *texts)
