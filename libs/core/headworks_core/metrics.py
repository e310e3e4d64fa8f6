"""Metrics by OpenTelemetry, in Prometheus' text: instruments that read our plain numbers when they are scraped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from headworks_core.measures import PROCESS, Distribution, Labels

log = structlog.get_logger(__name__)

REFRESH_TIMEOUT_S = 2.0
Values = Callable[[], Iterable[tuple[Labels, float]]]
Spreads = Callable[[], Iterable[tuple[Labels, Distribution]]]


class _Reader(PrometheusMetricReader):
    """The Prometheus reader, with histograms that were counted outside of the SDK: its own take 8 us a value."""

    def __init__(self, registry: CollectorRegistry, histograms: Callable[[], list[Metric]], resource: Resource) -> None:
        super().__init__(registry=registry, scope_info_enabled=False)
        self._histograms = histograms
        self._resource = resource

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> None:
        scope = ScopeMetrics(InstrumentationScope("headworks"), self._histograms(), "")
        ours = ResourceMetrics(self._resource, [scope], "")
        super()._receive_metrics(MetricsData([*metrics_data.resource_metrics, ours]), timeout_millis)


class Metrics:
    """The metrics of one service process. Those that every service has are there from the start.

    Names are OpenTelemetry's (`headworks.scheduler.jobs`); Prometheus sees `headworks_scheduler_jobs_total`.
    """

    def __init__(self, service: str, replica: str) -> None:
        self._histograms: list[Callable[[], Metric]] = []
        self._refreshers: list[Callable[[], Awaitable[None]]] = []
        self._registry = CollectorRegistry()
        self._began_ns = time.time_ns()
        resource = Resource.create({"service.name": service, "service.instance.id": replica})
        reader = _Reader(self._registry, self._counted, resource)
        self._provider = MeterProvider([reader], resource, shutdown_on_exit=False)
        self._meter = self._provider.get_meter("headworks")
        self._add_process()

    def counter(self, name: str, unit: str, about: str, labels: Sequence[str], read: Values) -> None:
        """What only grows. `read` gives each set of label values once, with its value."""
        self._meter.create_observable_counter(name, [_observed(labels, read)], unit, about)

    def gauge(self, name: str, unit: str, about: str, labels: Sequence[str], read: Values) -> None:
        """What goes up and down."""
        self._meter.create_observable_gauge(name, [_observed(labels, read)], unit, about)

    def histogram(self, name: str, unit: str, about: str, labels: Sequence[str], read: Spreads) -> None:
        """How values are spread."""

        def metric() -> Metric:
            points = [self._point(dict(zip(labels, values, strict=True)), spread) for values, spread in read()]
            return Metric(name, about, unit, Histogram(points, AggregationTemporality.CUMULATIVE))

        self._histograms.append(metric)

    def refresh(self, step: Callable[[], Awaitable[None]]) -> None:
        """Call this before each scrape; what it raises is logged, and it gets a bounded time."""
        self._refreshers.append(step)

    async def text(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics as they are now, in the form that `accept` asks for, and its content type."""
        for step in self._refreshers:
            try:
                async with asyncio.timeout(REFRESH_TIMEOUT_S):
                    await step()
            except Exception as error:
                log.warning("metrics.stale", error=repr(error))
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def close(self) -> None:
        """Let go of what was registered."""
        self._provider.shutdown()

    def _counted(self) -> list[Metric]:
        """The histograms that have something in them."""
        return [metric for metric in (read() for read in self._histograms) if metric.data.data_points]

    def _point(self, attributes: dict[str, str], spread: Distribution) -> HistogramDataPoint:
        counts = list(spread.counts)
        return HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=self._began_ns,
            time_unix_nano=time.time_ns(),
            count=sum(counts),
            sum=spread.total,
            bucket_counts=counts,
            explicit_bounds=spread.bounds,
            min=0.0,
            max=0.0,
        )

    def _add_process(self) -> None:
        about = "gRPC calls that have ended"
        self.counter("headworks.rpc.calls", "{call}", about, ("method", "status"), _calls_by_status)
        self.histogram("headworks.rpc.duration", "s", "How long unary gRPC calls took", ("method",), _latencies)
        self.gauge("headworks.rpc.streams", "{stream}", "gRPC streams that are open", ("method",), _open_streams)
        about = "From the call of a Redis script to its answer"
        self.histogram("headworks.script.duration", "s", about, ("script",), PROCESS.scripts.read)
        about = "Errors told to callers, of calls and of items of batches"
        self.counter("headworks.errors", "{error}", about, ("reason",), PROCESS.errors.read)
        errors = PROCESS.store_errors.read
        self.counter("headworks.store.errors", "{error}", "Redis commands that failed", ("kind",), errors)
        delay = PROCESS.loop_delay
        self.histogram("headworks.loop.delay", "s", "How late the event loop is", (), lambda: [((), delay)])


def _calls_by_status() -> Iterable[tuple[Labels, float]]:
    for method, calls in list(PROCESS.calls.items()):
        for status, count in list(calls.by_status.items()):
            yield (method, status), count


def _latencies() -> Iterable[tuple[Labels, Distribution]]:
    """Of unary methods that have been called."""
    return [((method,), calls.latency) for method, calls in PROCESS.calls.items() if any(calls.latency.counts)]


def _open_streams() -> Iterable[tuple[Labels, float]]:
    return [((method,), calls.open) for method, calls in PROCESS.calls.items() if calls.streams]


def _observed(labels: Sequence[str], read: Values) -> Callable[[CallbackOptions], list[Observation]]:
    def observe(_: CallbackOptions) -> list[Observation]:
        return [Observation(value, dict(zip(labels, values, strict=True))) for values, value in read()]

    return observe


def one(value: Callable[[], float]) -> Values:
    """For a metric without labels."""
    return lambda: [((), value())]
