"""The form of an event on Kafka."""

from __future__ import annotations

import os

import pytest
from headworks.events.v1.events_pb2 import JobEvent
from headworks.scheduler.v1 import job_pb2
from headworks_scheduler.domain.events import OutboxEntry
from headworks_scheduler.sinks.cloudevents import Encoder, Malformed

from tests.support.memory import resident_mb

TAIL = "0198c0de-1234-7abc-8def-0123456789ab"
NAME = f"tenants/acme/queues/mail/jobs/3-{TAIL}"


def entry(**changes: bytes) -> OutboxEntry:
    """An entry of cell 3."""
    made = OutboxEntry(
        id=b"1788256800123-4",
        ref=f"acme/mail/{TAIL}".encode(),
        type=b"succeeded",
        task=b"send_mail",
        sequence=b"2",
        attempt=b"3",
        generation=b"1",
        state=b"4",
        at=b"1788256800123456",
        trace=b"",
        failure=b"",
    )
    return made._replace(**changes)


def test_an_event_is_a_cloudevent_in_kafkas_binary_mode() -> None:
    record = Encoder(3).encode(entry())
    assert record.key == NAME.encode()
    assert record.timestamp_ms == 1788256800123
    assert record.headers == [
        ("ce_specversion", b"1.0"),
        ("ce_source", b"/headworks"),
        ("content-type", b"application/protobuf"),
        ("ce_type", b"dev.headworks.job.succeeded.v1"),
        ("ce_id", f"3-{TAIL}:2:1788256800123-4".encode()),
        ("ce_subject", NAME.encode()),
        ("ce_time", b"2026-09-01T10:00:00.123456Z"),
        ("ce_sequence", b"2"),
    ]


def test_its_value_is_a_job_event() -> None:
    event = JobEvent.FromString(Encoder(3).encode(entry()).value)
    assert (event.job, event.tenant, event.queue, event.task) == (NAME, "acme", "mail", "send_mail")
    assert (event.sequence, event.attempt, event.generation) == (2, 3, 1)
    assert event.state == job_pb2.JOB_STATE_SUCCEEDED
    assert event.time.ToNanoseconds() == 1788256800123456000
    assert not event.HasField("failure")


def test_a_failure_travels_without_its_trace() -> None:
    failure = job_pb2.Failure(
        error_class="ValueError", message="no", trace="long", category=job_pb2.FAILURE_CATEGORY_PERMANENT
    )
    encoder = Encoder(3)
    value = encoder.encode(entry(type=b"dead", state=b"5", failure=failure.SerializeToString())).value
    failure.ClearField("trace")
    assert JobEvent.FromString(value).failure == failure


def test_nothing_of_an_event_is_left_in_the_next_one() -> None:
    encoder = Encoder(3)
    failed = entry(type=b"dead", failure=job_pb2.Failure(error_class="E").SerializeToString(), at=b"1788256801000000")
    encoder.encode(failed)
    assert encoder.encode(entry()) == Encoder(3).encode(entry())


def test_times_before_and_after_a_second_are_right() -> None:
    encoder = Encoder(3)
    times = [dict(encoder.encode(entry(at=at)).headers)["ce_time"] for at in (b"1788256800999999", b"1788256801000000")]
    assert times == [b"2026-09-01T10:00:00.999999Z", b"2026-09-01T10:00:01.000000Z"]


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": b""},
        {"ref": b"acme/mail"},
        {"ref": b"\xff/mail/x"},
        {"type": b""},
        {"type": b"no type"},
        {"sequence": b"two"},
        {"state": b""},
        {"attempt": b"99999999999999"},
        {"at": b"999999999999999999999999"},
        {"failure": b"\xff\xff"},
    ],
)
def test_what_the_scripts_did_not_write_is_malformed(changes: dict[str, bytes]) -> None:
    encoder = Encoder(3)
    with pytest.raises(Malformed):
        encoder.encode(entry(**changes))
    assert encoder.encode(entry()) == Encoder(3).encode(entry())


def test_encoding_keeps_no_memory() -> None:
    """A message keeps every text that was ever set in it, so it is renewed now and then."""
    encoder = Encoder(0)
    for _ in range(20_000):
        encoder.encode(entry())
    before = resident_mb(os.getpid())
    for _ in range(200_000):
        encoder.encode(entry())
    assert resident_mb(os.getpid()) - before < 5  # it was 23
