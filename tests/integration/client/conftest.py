"""Fake services, and clients of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from headworks_client import LimiterClient, SchedulerClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.fake_api import FakeApi, fake_api
from tests.support.spans import recorded_spans


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
    with recorded_spans(monkeypatch) as exporter:
        yield exporter
