"""The spans of a decision."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from headworks_core import telemetry
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import Redis

from tests.integration.limiter.serving import Limiter, request, running

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"
RULES = 'namespaces: {api: {rules: [{name: rate, match: {user: "*"}, limit: 1000, per: 1h}]}}'


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_TRACER", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


@pytest.fixture
async def limiter(redis: Redis, valkey_url: str) -> AsyncIterator[Limiter]:
    async with running(valkey_url, RULES) as client:
        yield client


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


async def test_a_sampled_call_has_a_span_and_its_script_call_a_child(
    limiter: Limiter, spans: InMemorySpanExporter
) -> None:
    await limiter.traced(SAMPLED).consume(request(user="ann"))
    (call,) = named(spans, "headworks.limiter.v1.LimiterService/Consume")
    (script,) = named(spans, "EVALSHA decide")
    assert f"{call.context.trace_id:032x}" == TRACE
    assert script.parent is not None
    assert script.parent.span_id == call.context.span_id
    shown = f"{call.attributes} {script.attributes}"
    assert "ann" not in shown


async def test_an_unsampled_call_has_none(limiter: Limiter, spans: InMemorySpanExporter) -> None:
    await limiter.traced(UNSAMPLED).consume(request(user="ann"))
    await limiter.consume(request(user="ann"))
    assert spans.get_finished_spans() == ()


async def test_calls_that_share_a_script_call_share_its_span(limiter: Limiter, spans: InMemorySpanExporter) -> None:
    callers = [limiter.traced(UNSAMPLED), limiter.traced(SAMPLED), limiter.traced(SAMPLED), limiter] * 10
    await asyncio.gather(*(caller.consume(request(user="ann")) for caller in callers))
    calls = {span.context.span_id for span in named(spans, "headworks.limiter.v1.LimiterService/Consume")}
    scripts = named(spans, "EVALSHA decide")
    assert len(calls) == 20
    assert 1 <= len(scripts) <= 20
    assert all(script.parent is not None and script.parent.span_id in calls for script in scripts)
