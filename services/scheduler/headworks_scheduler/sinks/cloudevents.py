"""Outbox entries as CloudEvents 1.0 in Kafka's binary mode: attributes in headers, a JobEvent as the value."""

from __future__ import annotations

import time
from typing import NamedTuple

from google.protobuf.message import DecodeError
from headworks.events.v1.events_pb2 import JobEvent

from headworks_scheduler.domain.events import OutboxEntry

Header = tuple[str, bytes]
SOURCE = "/headworks"


class Record(NamedTuple):
    """A Kafka record; the key is the job's name, so that a job's events stay in one partition."""

    tenant: str
    key: bytes
    value: bytes
    headers: list[Header]
    timestamp_ms: int


class Malformed(ValueError):
    """The entry is none that the scheduler's scripts wrote; no later attempt can send it."""


REUSED = 1_000
"""Events that one message is used for: it keeps the memory of every text that was ever set in it."""


class Encoder:
    """Encodes the entries of one cell. Not for concurrent use: one message is used again and again."""

    def __init__(self, cell: int, *, source: str = SOURCE) -> None:
        self._cell = cell
        self._constant: list[Header] = [
            ("ce_specversion", b"1.0"),
            ("ce_source", source.encode()),
            ("content-type", b"application/protobuf"),
        ]
        self._types: dict[bytes, Header] = {}
        self._renew()
        self._second = -1
        self._second_text = ""

    def encode(self, entry: OutboxEntry) -> Record:
        """The record of an entry. Raises Malformed."""
        try:
            return self._encode(entry)
        except (ValueError, OverflowError, OSError, DecodeError) as error:  # no number, name, time or failure
            raise Malformed(f"malformed entry: {error}") from error

    def _encode(self, entry: OutboxEntry) -> Record:
        id_, ref, type_, task, sequence, attempt, generation, state, at, _, failure = entry
        tenant, queue, tail = ref.decode().split("/")
        number = f"{self._cell}-{tail}"
        job = f"tenants/{tenant}/queues/{queue}/jobs/{number}"
        key = job.encode()
        second, micros = divmod(int(at), 1_000_000)
        if not self._left:
            self._renew()
        self._left -= 1
        if second != self._second:
            self._begin(second)
        event = self._event
        event.job = job
        event.tenant = tenant
        event.queue = queue
        event.task = task.decode()
        event.sequence = int(sequence)
        event.attempt = int(attempt)
        event.generation = int(generation)
        event.state = int(state)  # type: ignore[assignment]  # enums are plain ints at run time
        self._time.nanos = micros * 1000
        event.ClearField("failure")
        if failure:
            event.failure.ParseFromString(failure)
            event.failure.ClearField("trace")
        headers = [
            *self._constant,
            self._types.get(type_) or self._type(type_),
            ("ce_id", f"{number}:{sequence.decode()}:{id_.decode()}".encode()),
            ("ce_subject", key),
            ("ce_time", f"{self._second_text}.{micros:06d}Z".encode()),
            ("ce_sequence", sequence),
        ]
        return Record(tenant, key, event.SerializeToString(), headers, second * 1000 + micros // 1000)

    def _renew(self) -> None:
        self._event = JobEvent()
        self._time = self._event.time  # getting a submessage costs as much as setting four fields
        self._second, self._left = -1, REUSED

    def _type(self, name: bytes) -> Header:
        if not name.isalpha():
            raise ValueError(f"{name!r} is no type of event")
        header = ("ce_type", b"dev.headworks.job.%b.v1" % name)
        self._types[name] = header
        return header

    def _begin(self, second: int) -> None:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._time.seconds = second
        self._second, self._second_text = second, text
