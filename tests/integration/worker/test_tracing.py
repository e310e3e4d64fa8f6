"""The span of an attempt: who its parent is, and what is not traced at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.duration_pb2 import Duration
from headworks_core import telemetry
from headworks_worker import Context, PermanentError, task
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.integration.worker.conftest import Attach
from tests.support.spans import recorded_spans

SUBMIT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What this test records."""
    with recorded_spans(monkeypatch) as exporter:
        yield exporter


@task(name="inside")
async def inside() -> str:
    """The trace it runs in."""
    return telemetry.current_traceparent()


@task(name="inside-thread")
def inside_thread(ctx: Context) -> str:
    """The trace it runs in."""
    return telemetry.current_traceparent()


@task(name="fails")
async def fails() -> None:
    """Does not work."""
    raise PermanentError("no")


@pytest.mark.parametrize("name", ["inside", "inside-thread"])
async def test_a_first_attempt_is_a_child_of_its_submit_and_current_in_the_handler(
    spans: InMemorySpanExporter, attach: Attach, name: str
) -> None:
    async with attach(inside, inside_thread) as session:
        (job,) = await session.assign(name, traceparent=SUBMIT)
        result = await session.result()

    (span,) = spans.get_finished_spans()
    assert span.name == f"process {name}"
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" in SUBMIT
    assert span.attributes is not None
    assert span.attributes["app.job.name"] == job.job
    assert result.traceparent.split("-")[2] == f"{span.context.span_id:016x}"
    assert result.success.result.data == f'"{result.traceparent}"'.encode()


@pytest.mark.parametrize(("attempt", "delay_s"), [(2, 0), (1, 60)])
async def test_a_retry_and_a_delayed_job_begin_a_trace_that_links_to_the_submit(
    spans: InMemorySpanExporter, attach: Attach, attempt: int, delay_s: int
) -> None:
    async with attach(inside) as session:
        delay = Duration(seconds=delay_s) if delay_s else None
        await session.assign("inside", traceparent=SUBMIT, attempt=attempt, delay=delay)
        await session.result()

    (span,) = spans.get_finished_spans()
    assert span.parent is None
    assert [f"{link.context.span_id:016x}" for link in span.links] == [SUBMIT.split("-")[2]]


async def test_a_failure_marks_its_span(spans: InMemorySpanExporter, attach: Attach) -> None:
    async with attach(fails) as session:
        await session.assign("fails", traceparent=SUBMIT)
        result = await session.result()

    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert result.traceparent.split("-")[2] == f"{span.context.span_id:016x}"


async def test_what_is_not_sampled_is_not_traced(spans: InMemorySpanExporter, attach: Attach) -> None:
    async with attach(inside) as session:
        await session.assign("inside")
        result = await session.result()

    assert result.traceparent == ""
    assert result.success.result.data == b'""'
    assert spans.get_finished_spans() == ()
