"""Reads a Headworks topic: decodes, drops duplicates, continues the trace, commits what has been processed.

Needs the extra `events` (aiokafka). The guarantees are those of docs/events.md: at least once, and inside one reader
each event once and in order per job, as long as the reader remembers the job.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from google.protobuf.message import DecodeError
from headworks.events.v1.events_pb2 import JobEvent
from headworks_core import telemetry
from headworks_core.errors import Unavailable

log = logging.getLogger(__name__)

START_S = 15.0
COMMIT_S = 3.0
STOP_S = 1.0
FETCH_S = 1.0
FETCH_RECORDS = 500
METADATA_MAX_AGE_MS = 5_000  # how soon a topic that did not exist yet is noticed
RETRY_S = 0.5
READ_TRIES = 20  # in a row; a broker that is away does not count


@dataclass(frozen=True, slots=True)
class Event:
    """A transition of a job: a CloudEvent with its place in Kafka."""

    id: str
    """`<job id>:<sequence>:<outbox id>`; the same for every delivery of the event."""
    type: str
    """`dev.headworks.job.<transition>.v1`."""
    source: str
    subject: str
    """The job's name, `tenants/{tenant}/queues/{queue}/jobs/{job}`."""
    time: datetime
    sequence: int
    """Number of the event among the job's, from 1."""
    traceparent: str
    """Empty: not sampled."""
    data: JobEvent
    topic: str
    partition: int
    offset: int

    @property
    def transition(self) -> str:
        """What happened: succeeded, dead, cancelled, retrying."""
        return self.type.split(".")[3]


@dataclass(slots=True)
class ReaderStats:
    """What a reader has seen since it was opened."""

    received: int = 0
    unique: int = 0
    duplicates: int = 0
    skipped: int = 0
    """Records that are no Headworks event."""


class EventReader:
    """An async context manager and an async iterator of events.

    An event counts as processed when the next one is asked for, or when its `processing` block ends; only then is its
    offset committed, at most `commit_every_s` later. What was not committed comes again, to this group's next reader.
    Duplicates are dropped by remembering the last sequence of `remember` jobs, those heard of last. Iterating raises
    Unavailable when the topic cannot be read at all (not allowed, damaged); a broker that is away is waited for.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        topic: str = "headworks.jobs.v1",
        group: str,
        from_beginning: bool = True,
        remember: int = 100_000,
        commit_every_s: float = 1.0,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        """`from_beginning`: where a group begins that has committed nothing; else with the events from now on.

        `connection` holds further arguments of AIOKafkaConsumer, such as `security_protocol`.
        """
        self._bootstrap = bootstrap
        self._topic = topic
        self._group = group
        self._from_beginning = from_beginning
        self._connection = dict(connection or {})
        self._commit_every_s = commit_every_s
        self._remember = remember
        self._seen = _LastSeen(remember)
        self._buffer: deque[ConsumerRecord[bytes, bytes]] = deque()
        self._current: Event | None = None
        self._done: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._failed: set[TopicPartition] = set()
        self._failures = 0
        self._joined = asyncio.Event()
        self._next_commit = 0.0
        self.stats = ReaderStats()

    async def __aenter__(self) -> Self:
        """Raises Unavailable when the broker cannot be reached."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest" if self._from_beginning else "latest",
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            retry_backoff_ms=int(RETRY_S * 1000),
            **self._connection,
        )
        self._consumer.subscribe([self._topic], listener=_Rebalances(self))
        try:
            async with asyncio.timeout(START_S):
                await self._consumer.start()
        except (KafkaError, TimeoutError) as error:
            await self._stop()
            raise Unavailable(f"Kafka at {self._bootstrap} cannot be reached: {error!r}") from error
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._commit()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        """aiokafka's `stop` waits for the broker, or ends in the CancelledError of a task of its own."""
        consumer = self._consumer
        if await _ended(consumer.stop(), STOP_S):
            return
        log.warning("the group %s was left without the broker's knowledge", self._group)
        for part in (consumer._coordinator, consumer._fetcher, consumer._client):
            if part is not None:
                await _ended(part.close(), STOP_S)

    async def ready(self, timeout_s: float = 30.0) -> None:
        """Return when this reader misses no event that is sent from now on. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                await self._joined.wait()
                if self._consumer.partitions_for_topic(self._topic):
                    break
                self._joined.clear()  # the topic does not exist; when it does, partitions are assigned anew
            for place in self._consumer.assignment():
                with suppress(IllegalStateError):  # taken away again meanwhile
                    await self._consumer.position(place)  # settles where `latest` is

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        if self._current is not None:
            self._finish(self._current)
        while True:
            await self._commit_if_due()
            while self._buffer:
                record = self._buffer.popleft()
                event = self._take(record)
                if event is not None:
                    self._current = event
                    return event
                self._mark(TopicPartition(record.topic, record.partition), record.offset)
            if not await self._fetch():
                raise StopAsyncIteration

    async def run(self, handler: Callable[[Event], Awaitable[None]]) -> None:
        """Process events until cancelled; an exception of `handler` ends it and leaves that event uncommitted."""
        async for event in self:
            async with self.processing(event):
                await handler(event)

    @asynccontextmanager
    async def processing(self, event: Event) -> AsyncIterator[None]:
        """Around the processing of one event: a span that continues its trace.

        After an exception nothing more of the event's partition is committed, so that it comes again.
        """
        try:
            if telemetry.is_sampled(event.traceparent):
                attributes = {
                    "messaging.system": "kafka",
                    "messaging.operation.name": "process",
                    "messaging.operation.type": "process",
                    "messaging.destination.name": event.topic,
                    "messaging.destination.partition.id": str(event.partition),
                    "messaging.consumer.group.name": self._group,
                    "messaging.message.id": event.id,
                }
                with telemetry.span(f"process {event.topic}", telemetry.CONSUMER, event.traceparent, attributes):
                    yield
            else:
                yield
        except BaseException:
            self._failed.add(TopicPartition(event.topic, event.partition))
            self._current = None
            raise
        self._finish(event)

    def _finish(self, event: Event) -> None:
        if event is not self._current:  # its partition was taken away meanwhile, or it has been left behind
            return
        self._current = None
        self._mark(TopicPartition(event.topic, event.partition), event.offset)

    def _mark(self, place: TopicPartition, offset: int) -> None:
        if place not in self._failed:
            self._done[place] = offset + 1

    def _take(self, record: ConsumerRecord[bytes, bytes]) -> Event | None:
        """The record's event; None if it is none, or was seen before."""
        self.stats.received += 1
        try:
            event = _decode(record)
        except (KeyError, ValueError, DecodeError) as error:
            self.stats.skipped += 1
            place = f"{record.topic}[{record.partition}]@{record.offset}"
            log.warning("%s is no Headworks event and is skipped: %r", place, error)
            return None
        if not self._seen.is_new(event):
            self.stats.duplicates += 1
            return None
        self.stats.unique += 1
        return event

    async def _fetch(self) -> bool:
        """Wait a moment for records; False when the reader has been closed."""
        try:
            batches = await self._consumer.getmany(timeout_ms=int(FETCH_S * 1000), max_records=FETCH_RECORDS)
        except ConsumerStoppedError:
            return False
        except KafkaError as error:
            self._failures += 1
            log.warning("reading %s failed: %r", self._topic, error)
            if self._failures == READ_TRIES:
                raise Unavailable(f"reading {self._topic} fails for good: {error!r}") from error
            await asyncio.sleep(RETRY_S)
            return True
        self._failures = 0
        for records in batches.values():
            self._buffer.extend(records)
        return True

    async def _commit_if_due(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_commit:
            self._next_commit = now + self._commit_every_s
            await self._commit()

    async def _commit(self) -> None:
        assigned = self._consumer.assignment()
        offsets = {
            place: offset
            for place, offset in self._done.items()
            if place in assigned and self._committed.get(place) != offset
        }
        if not offsets:
            return
        try:
            async with asyncio.timeout(COMMIT_S):
                await self._consumer.commit(offsets)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            log.warning("committing to group %s failed, the events may come again: %r", self._group, error)
        else:
            self._committed.update(offsets)

    async def _revoked(self, places: Iterable[TopicPartition]) -> None:
        await self._commit()
        gone = set(places)
        kept = [record for record in self._buffer if TopicPartition(record.topic, record.partition) not in gone]
        self._buffer = deque(kept)
        if self._current and TopicPartition(self._current.topic, self._current.partition) in gone:
            self._current = None
        if self._failed & gone:  # what failed must be new again if it comes back to us; so must all, for a moment
            self._seen = _LastSeen(self._remember)
        self._failed -= gone
        for place in gone:
            self._done.pop(place, None)
            self._committed.pop(place, None)

    def _assigned(self) -> None:
        self._joined.set()


async def _ended(work: Coroutine[Any, Any, None], timeout_s: float) -> bool:
    """Whether `work` ended in time and well; if not in time, it is cancelled."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=timeout_s)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=timeout_s)
    return task.done() and not task.cancelled() and task.exception() is None


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._reader._revoked(revoked)

    async def on_partitions_assigned(self, _: Iterable[TopicPartition]) -> None:
        self._reader._assigned()


class _LastSeen:
    """Sequence and outbox id of the last event of each job, for the jobs heard of last."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._jobs: OrderedDict[str, tuple[int, tuple[int, int]]] = OrderedDict()

    def is_new(self, event: Event) -> bool:
        """Whether the event comes after the last one seen of its job; then it is the last one seen.

        A job that was forgotten and then submitted again under its old id counts from 1 again, with younger outbox ids.
        """
        this = event.sequence, _outbox_id(event.id)
        last = self._jobs.get(event.subject, (0, (0, 0)))
        begins_anew = event.sequence == 1 and this[1] > last[1]
        if event.sequence <= last[0] and not begins_anew:
            return False
        self._jobs[event.subject] = this
        self._jobs.move_to_end(event.subject)
        if len(self._jobs) > self._capacity:
            self._jobs.popitem(last=False)
        return True


def _outbox_id(event_id: str) -> tuple[int, int]:
    ms, _, number = event_id.rpartition(":")[2].partition("-")
    return int(ms), int(number)


def _decode(record: ConsumerRecord[bytes, bytes]) -> Event:
    """Raises KeyError, ValueError or DecodeError for what is no Headworks event."""
    headers = {name: value.decode() for name, value in record.headers}
    if not headers["ce_type"].startswith("dev.headworks.job."):
        raise ValueError(f"type {headers['ce_type']}")
    if not record.value:
        raise ValueError("no value")
    event = Event(
        id=headers["ce_id"],
        type=headers["ce_type"],
        source=headers["ce_source"],
        subject=headers["ce_subject"],
        time=datetime.fromisoformat(headers["ce_time"]),
        sequence=int(headers["ce_sequence"]),
        traceparent=headers.get("traceparent", ""),
        data=JobEvent.FromString(record.value),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
    )
    _outbox_id(event.id)  # must be one, too
    return event
