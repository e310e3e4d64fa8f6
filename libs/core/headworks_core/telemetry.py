"""Tracing in W3C `traceparent` strings: what is not sampled never touches the tracing API.

A context travels as text: in call metadata, with the job, in each message of a stream, in event headers. An empty
string stands for "not sampled", so every seam decides with one look at one character.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

CLIENT, SERVER, PRODUCER, CONSUMER, INTERNAL = (
    SpanKind.CLIENT,
    SpanKind.SERVER,
    SpanKind.PRODUCER,
    SpanKind.CONSUMER,
    SpanKind.INTERNAL,
)
Attributes = Mapping[str, str | int | float | bool]

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("headworks")
_LENGTH = 55  # 00-<32 hex>-<16 hex>-<2 hex>


def is_sampled(traceparent: str) -> bool:
    """Whether the flag byte says that somebody records this trace."""
    return len(traceparent) == _LENGTH and traceparent[-1] in "13579bdf"


def traceparent_of(span: Span) -> str:
    """The span's context as text; empty when it is not sampled."""
    return _text(span.get_span_context())


def current_traceparent() -> str:
    """The context of the code that runs now; empty when it is not sampled."""
    return _text(trace.get_current_span().get_span_context())


def _text(context: SpanContext) -> str:
    if not context.trace_flags & TraceFlags.SAMPLED or not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


@contextmanager
def span(
    name: str,
    kind: SpanKind = INTERNAL,
    traceparent: str = "",
    attributes: Attributes | None = None,
    *,
    links: Sequence[str] = (),
) -> Iterator[Span]:
    """A span that is current inside the block.

    Its parent is `traceparent`, or the current span where that is empty; an exception marks it as failed. `links` are
    contexts it continues without being their child.
    """
    parent = _context(traceparent) if traceparent else otel_context.get_current()
    linked = [Link(trace.get_current_span(_context(text)).get_span_context()) for text in links]
    with _TRACER.start_as_current_span(name, parent, kind, attributes, linked) as started:
        yield started


def start_span(name: str, kind: SpanKind, traceparent: str, attributes: Attributes) -> Span:
    """A child of `traceparent` that does not become current; whoever starts it ends it."""
    return _TRACER.start_span(name, _context(traceparent), kind, attributes)


@contextmanager
def root_span(name: str, kind: SpanKind, attributes: Attributes, *, links: Sequence[str]) -> Iterator[Span]:
    """A span that begins a trace of its own and points at where the work came from (retries, delayed work)."""
    linked = [Link(trace.get_current_span(_context(text)).get_span_context()) for text in links]
    with _TRACER.start_as_current_span(name, otel_context.Context(), kind, attributes, linked) as started:
        yield started


def _context(traceparent: str) -> otel_context.Context:
    return _PROPAGATOR.extract({"traceparent": traceparent}, otel_context.Context())


class Tracing:
    """Whether this process exports spans, and so may begin traces that no caller asked for."""

    def __init__(self) -> None:
        self.exports = False


TRACING = Tracing()


@contextmanager
def tracing(service: str) -> Iterator[None]:
    """Export spans over OTLP while the block runs, as the standard OTEL_* variables say; no endpoint, no spans."""
    if not _wanted():
        yield
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", service)}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    TRACING.exports = True
    try:
        yield
    finally:
        provider.force_flush(5000)
        provider.shutdown()
        TRACING.exports = False


def _wanted() -> bool:
    environment = os.environ
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environment.get(f"OTEL_EXPORTER_OTLP_{part}ENDPOINT") for part in ("", "TRACES_"))
