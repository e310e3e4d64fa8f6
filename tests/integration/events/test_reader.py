"""The reader for subscribers: each event once, in order, committed only when it has been processed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from headworks_client.events import Event, EventReader
from headworks_core.errors import Unavailable
from headworks_devkit.backends import KafkaBackend
from headworks_scheduler.domain.events import OutboxEntry
from headworks_scheduler.sinks.cloudevents import Encoder

from tests.integration.events.brokers import own_broker
from tests.integration.events.entries import AT_US, fields, name_of, new_ref
from tests.integration.events.topics import create, new_topic
from tests.support.wait import wait_until


@pytest.fixture
async def topic(kafka: KafkaBackend) -> str:
    """A topic of four partitions that nobody else uses."""
    name = new_topic()
    await create(kafka.bootstrap, name)
    return name


@asynccontextmanager
async def producing(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def send(bootstrap: str, topic: str, events: Sequence[tuple[str, int]], *, outbox: int = 1) -> None:
    """Put events (job, sequence) on a topic as the relay does; `outbox` begins their outbox ids."""
    encoder = Encoder(0)
    async with producing(bootstrap) as producer:
        for ref, sequence in events:
            texts = [str(value).encode() for value in fields(ref, sequence).values()]
            record = encoder.encode(OutboxEntry(f"{outbox}-{sequence}".encode(), *[*texts[:-1], b""]))
            await producer.send_and_wait(topic, key=record.key, value=record.value, headers=record.headers)


async def take(reader: EventReader, count: int) -> list[Event]:
    """The next events, all but the last processed."""
    async with asyncio.timeout(30):
        return [await anext(reader) for _ in range(count)]


async def test_an_event_is_what_the_job_did(kafka: KafkaBackend, topic: str) -> None:
    ref = new_ref("acme", "mail")
    await send(kafka.bootstrap, topic, [(ref, 1)])
    async with EventReader(kafka.bootstrap, topic=topic, group=topic) as reader:
        (event,) = await take(reader, 1)
    assert event.subject == event.data.job == name_of(ref)
    assert event.id == f"0-{ref.split('/')[2]}:1:1-1"
    assert (event.type, event.transition) == ("dev.headworks.job.succeeded.v1", "succeeded")
    assert (event.source, event.sequence, event.traceparent) == ("/headworks", 1, "")
    assert event.time.timestamp() == pytest.approx(AT_US / 1e6)
    assert (event.data.tenant, event.data.queue, event.data.task) == ("acme", "mail", "t")


async def test_duplicates_are_dropped_and_counted(kafka: KafkaBackend, topic: str) -> None:
    one, two = new_ref(), new_ref()
    sent = [(one, 1), (one, 2), (one, 1), (one, 2), (two, 1), (one, 3), (two, 1), (two, 2)]
    await send(kafka.bootstrap, topic, sent)
    async with EventReader(kafka.bootstrap, topic=topic, group=topic) as reader:
        events = await take(reader, 5)
        assert [e.sequence for e in events if e.subject == name_of(one)] == [1, 2, 3]
        assert [e.sequence for e in events if e.subject == name_of(two)] == [1, 2]
        await wait_for_received(reader, 8)
        stats = reader.stats
        assert (stats.received, stats.unique, stats.duplicates, stats.skipped) == (8, 5, 3, 0)


async def wait_for_received(reader: EventReader, count: int) -> None:
    """Read on until so many records have been looked at; there must be no further event."""
    reading = asyncio.ensure_future(anext(reader))
    await wait_until(lambda: reader.stats.received >= count)
    reading.cancel()
    await asyncio.wait({reading})


async def test_a_job_submitted_anew_under_an_old_id_is_heard_again(kafka: KafkaBackend, topic: str) -> None:
    ref = new_ref()
    await send(kafka.bootstrap, topic, [(ref, 1), (ref, 2)], outbox=1)
    await send(kafka.bootstrap, topic, [(ref, 1), (ref, 2)], outbox=2)
    async with EventReader(kafka.bootstrap, topic=topic, group=topic) as reader:
        assert [event.sequence for event in await take(reader, 4)] == [1, 2, 1, 2]


async def test_only_so_many_jobs_are_remembered(kafka: KafkaBackend, topic: str) -> None:
    refs = [new_ref() for _ in range(4)]
    await send(kafka.bootstrap, topic, [(ref, 1) for ref in refs])
    async with EventReader(kafka.bootstrap, topic=topic, group=topic, remember=2) as reader:
        events = await take(reader, 4)
        await send(kafka.bootstrap, topic, [(ref, 1) for ref in refs])
        forgotten = {event.subject for event in await take(reader, 2)}
    assert forgotten <= {event.subject for event in events}
    assert reader.stats.unique == 6


async def test_what_was_processed_is_not_delivered_to_the_next_reader(kafka: KafkaBackend, topic: str) -> None:
    refs = [new_ref() for _ in range(20)]
    await send(kafka.bootstrap, topic, [(ref, 1) for ref in refs])
    async with EventReader(kafka.bootstrap, topic=topic, group=topic) as first:
        seen = {event.subject for event in (await take(first, 13))[:12]}
    async with EventReader(kafka.bootstrap, topic=topic, group=topic) as second:
        rest = {event.subject for event in await take(second, 8)}
    assert seen | rest == {name_of(ref) for ref in refs}
    assert not seen & rest


async def test_an_event_whose_processing_failed_comes_again(kafka: KafkaBackend, topic: str) -> None:
    ref = new_ref()
    await send(kafka.bootstrap, topic, [(ref, 1), (ref, 2), (ref, 3)])
    done: list[int] = []

    async def handle(event: Event) -> None:
        if event.sequence == 2:
            raise ZeroDivisionError
        done.append(event.sequence)

    async with EventReader(kafka.bootstrap, topic=topic, group=topic) as reader:
        with pytest.raises(ZeroDivisionError):
            await reader.run(handle)
    async with EventReader(kafka.bootstrap, topic=topic, group=topic) as reader:
        assert [event.sequence for event in await take(reader, 2)] == [2, 3]
    assert done == [1]


async def test_processed_events_are_committed_while_the_reader_runs(kafka: KafkaBackend, topic: str) -> None:
    """So that a subscriber that is killed repeats little."""
    await send(kafka.bootstrap, topic, [(new_ref(), 1) for _ in range(10)])
    async with EventReader(kafka.bootstrap, topic=topic, group=topic, commit_every_s=0.0) as reader:
        await take(reader, 10)
        reading = asyncio.ensure_future(anext(reader))  # counts the tenth as processed

        async def committed() -> bool:
            return await committed_events(kafka.bootstrap, topic) == 10

        await wait_until(committed)
        reading.cancel()
        await asyncio.wait({reading})


async def committed_events(bootstrap: str, group: str) -> int:
    """How far a group has come on the topic of the same name, over all partitions."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    places = [TopicPartition(group, number) for number in range(4)]
    consumer.assign(places)
    await consumer.start()
    try:
        offsets = [await consumer.committed(place) for place in places]
    finally:
        await consumer.stop()
    return sum(offset or 0 for offset in offsets)


async def test_records_that_are_no_events_are_skipped(kafka: KafkaBackend, topic: str) -> None:
    ref = new_ref()
    async with producing(kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, b"garbage", key=b"k", partition=0)
        await producer.send_and_wait(topic, None, key=b"tombstone", partition=1)
        headers = [("ce_type", b"dev.headworks.job.dead.v1"), ("ce_id", b"x"), ("ce_sequence", b"one")]
        await producer.send_and_wait(topic, b"\xff", key=b"k", headers=headers, partition=2)
        await producer.send_and_wait(topic, b"\xff", headers=[("ce_type", b"\xff")], partition=3)
    await send(kafka.bootstrap, topic, [(ref, 1)])
    async with EventReader(kafka.bootstrap, topic=topic, group=topic) as reader:
        (event,) = await take(reader, 1)
        assert event.subject == name_of(ref)
        await wait_for_received(reader, 5)
        assert reader.stats.skipped == 4


async def test_a_ready_reader_hears_everything_from_then_on(kafka: KafkaBackend, topic: str) -> None:
    await send(kafka.bootstrap, topic, [(new_ref(), 1)])
    refs = [new_ref() for _ in range(8)]
    async with EventReader(kafka.bootstrap, topic=topic, group=topic, from_beginning=False) as reader:
        await reader.ready()
        await send(kafka.bootstrap, topic, [(ref, 1) for ref in refs])
        assert {event.subject for event in await take(reader, 8)} == {name_of(ref) for ref in refs}


@pytest.mark.kafka  # the embedded broker refuses a second member
async def test_readers_of_a_group_share_the_events(kafka: KafkaBackend, topic: str) -> None:
    refs = [new_ref() for _ in range(40)]
    heard: list[str] = []

    async def read(reader: EventReader) -> None:
        async for event in reader:
            heard.append(event.subject)

    async with (
        EventReader(kafka.bootstrap, topic=topic, group=topic) as one,
        EventReader(kafka.bootstrap, topic=topic, group=topic) as two,
    ):
        await asyncio.gather(one.ready(), two.ready())
        tasks = [asyncio.create_task(read(reader)) for reader in (one, two)]
        await send(kafka.bootstrap, topic, [(ref, 1) for ref in refs])
        await wait_until(lambda: len(set(heard)) == 40, 30)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert set(heard) == {name_of(ref) for ref in refs}
        assert one.stats.received > 0
        assert two.stats.received > 0


async def test_a_reader_waits_for_a_topic_that_does_not_exist_yet(kafka: KafkaBackend) -> None:
    name, ref = new_topic(), new_ref()
    async with EventReader(kafka.bootstrap, topic=name, group=name) as reader:
        await send(kafka.bootstrap, name, [(ref, 1)])
        assert [event.subject for event in await take(reader, 1)] == [name_of(ref)]


async def test_a_broker_that_cannot_be_reached_is_told_at_once() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        async with EventReader("127.0.0.1:1", group="g"):
            pass


async def test_a_reader_survives_a_broker_that_hangs() -> None:
    name, refs = new_topic(), [new_ref(), new_ref()]
    async with own_broker() as broker:
        await create(broker.bootstrap, name)
        async with EventReader(broker.bootstrap, topic=name, group=name) as reader:
            await reader.ready()
            await send(broker.bootstrap, name, [(refs[0], 1)])
            await take(reader, 1)
            broker.process.pause()
            await asyncio.sleep(1.0)  # the absence itself
            broker.process.resume()
            await send(broker.bootstrap, name, [(refs[1], 1)])
            assert [event.subject for event in await take(reader, 1)] == [name_of(refs[1])]


@pytest.mark.parametrize("how", ["pause", "kill"])
async def test_a_reader_closes_in_time_when_the_broker_is_gone(how: str) -> None:
    name = new_topic()
    async with own_broker() as broker:
        await create(broker.bootstrap, name)
        before = asyncio.all_tasks()
        async with EventReader(broker.bootstrap, topic=name, group=name) as reader:
            await reader.ready()
            await send(broker.bootstrap, name, [(new_ref(), 1), (new_ref(), 1)])
            await take(reader, 2)
            if how == "pause":
                broker.process.pause()
            else:
                await broker.process.kill()
            started = time.monotonic()
        assert time.monotonic() - started < 12
        assert asyncio.all_tasks() <= before
