"""Events to Kafka: one batch a partition, the next one only when the broker has the one before.

aiokafka has one request under way a broker, so more batches in its hands would gain nothing, and one that followed a
refused batch could arrive in its place: that would be a gap.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import TopicPartition
from headworks_core import telemetry
from headworks_core.names import TENANT
from opentelemetry.trace import Span, Status, StatusCode

from headworks_scheduler.domain.events import OutboxEntry
from headworks_scheduler.sinks import Refused, SinkUnavailable, Unsendable, topics
from headworks_scheduler.sinks.cloudevents import Encoder, Malformed, Record
from headworks_scheduler.sinks.producer import idempotent_producer
from headworks_scheduler.sinks.quiet import quiet_aiokafka

CONTENT_ERRORS = (MessageSizeTooLargeError, RecordListTooLargeError, PolicyViolationError)


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """Where events go and how."""

    bootstrap: str
    topic: str = "headworks.jobs.v1"
    """May contain {tenant}: a topic for each."""
    partitions: int = 12
    """Of a topic that the sink creates."""
    max_record_bytes: int = 900_000
    """An event with a larger value is not sent."""
    max_batch_bytes: int = 512_000
    """Of one partition's batch; below the broker's message.max.bytes, 1 MiB by default."""
    compression: str | None = None
    stall_s: float = 30.0
    """How long the broker may leave a batch without an answer before the producer is dropped; a request, a third."""


class KafkaSink:
    """Makes sessions; each has a producer of its own, so that cells do not fail together."""

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options

    @asynccontextmanager
    async def session(self, cell: int) -> AsyncIterator[KafkaSession]:
        """A connection for the events of one cell. Raises SinkUnavailable. Leaving it never waits for the broker."""
        options = self._options
        producer = idempotent_producer(
            options.bootstrap,
            max_batch_bytes=options.max_batch_bytes,
            compression=options.compression,
            timeout_s=options.stall_s / 3,
        )
        with quiet_aiokafka():
            async with producer as started:
                yield KafkaSession(started, cell, options)


@dataclass(slots=True)
class _Batch:
    place: TopicPartition
    builder: BatchBuilder
    ids: list[bytes] = field(default_factory=list)


class Flight:
    """Batches on their way to the broker."""

    def __init__(self, batches: Sequence[_Batch], spans: Sequence[Span], stall_s: float) -> None:
        self._batches = batches
        self._spans = spans
        self._stall_s = stall_s
        self._sent: list[tuple[_Batch, asyncio.Future[object]]] = []

    def took_off(self, batch: _Batch, future: asyncio.Future[object]) -> None:
        """One of the batches is in the producer's hands."""
        future.add_done_callback(_look_at)
        self._sent.append((batch, future))

    async def landed(self) -> None:
        """Return when the broker has acknowledged all. Raises Refused, or SinkUnavailable: the outcome is unknown."""
        try:
            await self._outcome()
        except (Refused, SinkUnavailable) as error:
            for span in self._spans:
                span.set_status(Status(StatusCode.ERROR, str(error)))
            raise
        finally:
            for span in self._spans:
                span.end()

    async def _outcome(self) -> None:
        futures = [future for _, future in self._sent]
        if not futures:
            return
        _, waiting = await asyncio.wait(futures, timeout=self._stall_s)
        if waiting:
            raise _stalled(self._stall_s)
        errors = [_failure(batch, error) for batch, future in self._sent if (error := future.exception())]
        for error in sorted(errors, key=lambda error: not isinstance(error, Refused)):  # the rest may follow from it
            raise error


def _stalled(stall_s: float) -> SinkUnavailable:
    return SinkUnavailable(f"no acknowledgement for {stall_s:g} s")


def _failure(batch: _Batch, error: BaseException) -> Refused | SinkUnavailable:
    """What the failure of a batch means."""
    if isinstance(error, CONTENT_ERRORS):
        return Refused(batch.ids, f"refused by the broker: {error!r}")
    return SinkUnavailable(f"{batch.place.topic}[{batch.place.partition}]: {error!r}")


def _look_at(future: asyncio.Future[object]) -> None:
    """Nobody may be left to look at the outcome of a dropped producer's batch; asyncio would complain."""
    if not future.cancelled():
        future.exception()


class KafkaSession:
    """Sends one cell's events in order: `add` some, `send` them, and again."""

    def __init__(self, producer: AIOKafkaProducer, cell: int, options: KafkaOptions) -> None:
        self._producer = producer
        self._options = options
        self._encoder = Encoder(cell)
        self._per_tenant = "{tenant}" in options.topic
        self._places: dict[str, tuple[TopicPartition, ...]] = {}
        self._under_way: dict[TopicPartition, tuple[_Batch, asyncio.Future[object]]] = {}
        self._open: dict[TopicPartition, _Batch] = {}
        self._loaded: list[_Batch] = []
        self._spans: list[Span] = []

    async def add(self, entry: OutboxEntry, *, alone: bool = False) -> None:
        """Encode an entry into its partition's batch, or (`alone`) into a batch of its own.

        Waits where its topic is not known yet. Raises Unsendable or SinkUnavailable.
        """
        try:
            record = self._encoder.encode(entry)
        except Malformed as error:
            raise Unsendable(str(error)) from error
        if len(record.value) > self._options.max_record_bytes:
            raise Unsendable(f"{len(record.value)} bytes are more than {self._options.max_record_bytes}")
        places = self._places.get(record.tenant if self._per_tenant else "") or await self._find(record.tenant)
        place = places[zlib.crc32(record.key) % len(places)]
        if entry.trace:
            self._trace(entry, record, place)
        if alone:
            self._open.pop(place, None)
        batch = self._append(place, record)
        batch.ids.append(entry.id)
        if alone:
            self._open.pop(place)

    async def send(self) -> Flight:
        """Hand over what was added since the last time. Waits while a batch of the same partition is under way.

        Raises Refused, which may concern that one, or SinkUnavailable.
        """
        batches, self._loaded, self._open = self._loaded, [], {}
        spans, self._spans = self._spans, []
        flight = Flight(batches, spans, self._options.stall_s)
        for batch in batches:
            await self._wait_for_earlier(batch.place)
            batch.builder.close()
            try:
                async with asyncio.timeout(self._options.stall_s):
                    future = await self._producer.send_batch(
                        batch.builder, batch.place.topic, partition=batch.place.partition
                    )
            except (KafkaError, TimeoutError, AssertionError) as error:  # asserts that the partition still exists
                raise _failure(batch, error) from error
            self._under_way[batch.place] = batch, future
            flight.took_off(batch, future)
        return flight

    async def _wait_for_earlier(self, place: TopicPartition) -> None:
        if place not in self._under_way:
            return
        batch, future = self._under_way[place]
        if not future.done():
            await asyncio.wait((future,), timeout=self._options.stall_s)
        if not future.done():
            raise _stalled(self._options.stall_s)
        error = future.exception()
        if error is not None:
            raise _failure(batch, error)

    def _append(self, place: TopicPartition, record: Record) -> _Batch:
        batch = self._open.get(place)
        if batch is None or not _put(batch.builder, record):
            batch = _Batch(place, self._producer.create_batch())
            _put(batch.builder, record)  # the first record always fits
            self._open[place] = batch
            self._loaded.append(batch)
        return batch

    async def _find(self, tenant: str) -> tuple[TopicPartition, ...]:
        if self._per_tenant and not TENANT.fullmatch(tenant):
            raise Unsendable(f"malformed entry: {tenant!r} is no tenant")
        options = self._options
        topic = options.topic.replace("{tenant}", tenant)
        count = await topics.partitions_of(self._producer, options.bootstrap, topic, wanted=options.partitions)
        places = tuple(TopicPartition(topic, number) for number in range(count))
        self._places[tenant if self._per_tenant else ""] = places
        return places

    def _trace(self, entry: OutboxEntry, record: Record, place: TopicPartition) -> None:
        traceparent = entry.trace.decode("ascii", "replace")
        if not telemetry.is_sampled(traceparent):
            return
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": place.topic,
            "messaging.destination.partition.id": str(place.partition),
        }
        span = telemetry.start_span(f"send {place.topic}", telemetry.PRODUCER, traceparent, attributes)
        self._spans.append(span)
        if own := telemetry.traceparent_of(span):
            record.headers.append(("traceparent", own.encode()))


def _put(builder: BatchBuilder, record: Record) -> bool:
    return (
        builder.append(timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=record.headers)
        is not None
    )
