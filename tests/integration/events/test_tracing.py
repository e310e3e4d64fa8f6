"""The trace of a job goes on through Kafka to the subscriber; work that is not sampled never touches it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from headworks_client.events import EventReader
from headworks_core import telemetry
from headworks_devkit.backends import KafkaBackend
from headworks_scheduler.sinks.kafka import KafkaOptions, KafkaSink
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
from redis.asyncio import Redis

from tests.integration.events.conftest import Relaying
from tests.integration.events.entries import fields, name_of, new_ref, write
from tests.integration.events.topics import create, new_topic, tapped

TRACE = "0af7651916cd43dd8448eb211c80319c"
COMPLETING = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{COMPLETING}-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans that this process makes."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_TRACER", provider.get_tracer("headworks"))
    yield exporter
    provider.shutdown()


async def test_send_is_a_child_of_the_completion_and_process_of_send(
    redis: Redis, kafka: KafkaBackend, relaying: Relaying, spans: InMemorySpanExporter
) -> None:
    topic = new_topic()
    await create(kafka.bootstrap, topic)
    await write(redis, [fields(new_ref(), trace=SAMPLED)])
    async with (
        EventReader(kafka.bootstrap, topic=topic, group=topic) as reader,
        relaying(KafkaSink(KafkaOptions(kafka.bootstrap, topic))),
    ):
        event = await anext(reader)
        async with reader.processing(event):
            inner = telemetry.current_traceparent()
    send, process = spans.get_finished_spans()
    assert (send.name, send.kind) == (f"send {topic}", SpanKind.PRODUCER)
    assert (process.name, process.kind) == (f"process {topic}", SpanKind.CONSUMER)
    assert send.parent is not None
    assert process.parent is not None
    assert format_trace_id(send.context.trace_id) == format_trace_id(process.context.trace_id) == TRACE
    assert format_span_id(send.parent.span_id) == COMPLETING
    assert process.parent.span_id == send.context.span_id
    assert event.traceparent == f"00-{TRACE}-{format_span_id(send.context.span_id)}-01"
    assert inner == f"00-{TRACE}-{format_span_id(process.context.span_id)}-01"


async def test_what_is_not_sampled_makes_no_span_and_no_header(
    redis: Redis, kafka: KafkaBackend, relaying: Relaying, spans: InMemorySpanExporter
) -> None:
    topic = new_topic()
    await create(kafka.bootstrap, topic)
    refs = [new_ref(), new_ref()]
    await write(redis, [fields(refs[0]), fields(refs[1], trace=SAMPLED[:-1] + "0")])
    async with tapped(kafka.bootstrap, topic) as tap, relaying(KafkaSink(KafkaOptions(kafka.bootstrap, topic))):
        await tap.until_events(2)
    assert {record.key for record in tap.records} == {name_of(ref).encode() for ref in refs}
    assert all("traceparent" not in dict(record.headers) for record in tap.records)
    assert spans.get_finished_spans() == ()
