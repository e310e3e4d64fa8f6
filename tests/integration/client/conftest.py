"""Fake services, and clients of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from headworks_client import LimiterClient, SchedulerClient
from headworks_core import telemetry
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.fake_api import FakeApi, fake_api


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """A limiter and a scheduler that do what the test says."""
    async with fake_api() as fake:
        yield fake


@pytest.fixture
async def limiter(api: FakeApi) -> AsyncIterator[LimiterClient]:
    """A client of the fake limiter."""
    async with LimiterClient(api.address, tenant="t1") as client:
        yield client


@pytest.fixture
async def scheduler(api: FakeApi) -> AsyncIterator[SchedulerClient]:
    """A client of the fake scheduler."""
    async with SchedulerClient(api.address, tenant="t1") as client:
        yield client


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What this test records."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_TRACER", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()
