"""An OTLP/gRPC endpoint inside this process that keeps the spans it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from headworks_devkit.traces import Traces

EXPORT_DELAY_MS = 200
MAX_EXPORT_BYTES = 16 << 20


class _Servicer(TraceServiceServicer):
    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        self._traces.add(request)
        return ExportTraceServiceResponse()


@asynccontextmanager
async def otlp_sink(traces: Traces, *, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    """Take spans while the block runs; yields the endpoint, e.g. "http://127.0.0.1:4317"."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_EXPORT_BYTES)])
    add_TraceServiceServicer_to_server(_Servicer(traces), server)  # type: ignore[no-untyped-call]  # generated
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"http://{address.rpartition(':')[0]}:{port}"
    finally:
        await server.stop(1.0)


def exporting_to(endpoint: str) -> dict[str, str]:
    """The standard variables that make a process send there, soon, the spans of traces that a caller began."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "OTEL_BSP_SCHEDULE_DELAY": str(EXPORT_DELAY_MS),
    }


class _Keeper(SpanExporter):
    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._traces.add(encode_spans(spans))
        return SpanExportResult.SUCCESS


@contextmanager
def own_spans(traces: Traces, *, service: str) -> Iterator[None]:
    """Keep the spans of this very process too. Once a process: OpenTelemetry's provider cannot be replaced."""
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(_Keeper(traces)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()
