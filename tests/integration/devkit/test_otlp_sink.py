"""What a service's own exporter sends arrives in the sink."""

from __future__ import annotations

import asyncio

from headworks_devkit.otlp_sink import otlp_sink
from headworks_devkit.traces import Traces
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def export_two_spans(endpoint: str) -> None:
    """A span and a child, sent the way services send them."""
    provider = TracerProvider(resource=Resource.create({"service.name": "headworks-limiter"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True)))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("outer", attributes={"permits": 3}), tracer.start_as_current_span("inner"):
        pass
    provider.shutdown()


async def test_exported_spans_are_kept_with_service_parent_and_attributes() -> None:
    traces = Traces()
    async with otlp_sink(traces) as endpoint:
        await asyncio.to_thread(export_two_spans, endpoint)
    (root,) = traces.tree(traces.ids()[0])
    assert (root.span.service, root.span.name, root.span.attributes) == ("headworks-limiter", "outer", {"permits": 3})
    assert [child.span.name for child in root.children] == ["inner"]
