"""The spans that a test records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from headworks_core import telemetry
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@contextmanager
def recorded_spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Spans of this process go here while the block runs, and nowhere else."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with monkeypatch.context() as patch:
        patch.setattr(telemetry, "_TRACER", provider.get_tracer("test"))
        yield exporter
    provider.shutdown()
