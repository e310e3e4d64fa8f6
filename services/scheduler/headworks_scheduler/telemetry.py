"""The scheduler's metrics: every name, unit and label in one place. They are explained in docs/metrics.md."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headworks_core.measures import Labels
from headworks_core.metrics import Metrics, one

from headworks_scheduler.dispatcher import Dispatcher
from headworks_scheduler.queues import Queues
from headworks_scheduler.reaper import Reaper
from headworks_scheduler.reconciler import Reconciler
from headworks_scheduler.relay import Relay
from headworks_scheduler.sessions import WorkerServicer
from headworks_scheduler.store.jobs import JobStore, Reaped
from headworks_scheduler.store.lag import Lag, LagReader
from headworks_scheduler.store.stats import QueueStats, StatsStore

PREFIX = "headworks.scheduler"
LOOK_S = 5.0  # what is in the store is read at most so often, and only when somebody scrapes
STALE_S = 60.0  # then it is not told any more
ENDINGS = tuple(name for name in Reaped._fields if name != "ended")


@dataclass(frozen=True, slots=True)
class Parts:
    """Whose numbers are told."""

    store: JobStore
    queues: Queues
    dispatcher: Dispatcher
    workers: WorkerServicer
    reaper: Reaper
    reconciler: Reconciler
    relay: Relay | None


class StoreView:
    """What is in the queues and in the outbox, as of the last look."""

    def __init__(self, stats: StatsStore, lag: LagReader | None, queues: Sequence[str]) -> None:
        self._stats = stats
        self._lag = lag
        self._queues = queues
        self._queue_stats: dict[str, QueueStats] = {}
        self._outbox = Lag()
        self._looked_at = -STALE_S

    async def refresh(self) -> None:
        """Look again, unless that was just done. Raises Unavailable."""
        if time.monotonic() - self._looked_at < LOOK_S:
            return
        found = await self._stats.read(self._queues, "")
        self._outbox = await self._lag.read() if self._lag else Lag()
        self._queue_stats = dict(zip(self._queues, found, strict=True))
        self._looked_at = time.monotonic()

    @property
    def queues(self) -> dict[str, QueueStats]:
        """By name; empty if the last look was too long ago."""
        return self._queue_stats if self._is_fresh() else {}

    @property
    def outbox(self) -> list[Lag]:
        """One, or none if the last look was too long ago."""
        return [self._outbox] if self._is_fresh() else []

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._looked_at < STALE_S

    def jobs(self) -> Iterable[tuple[Labels, float]]:
        """Jobs by queue and state."""
        for queue, stats in self.queues.items():
            ready = sum(stats.ready)
            yield (queue, "ready"), ready
            yield (queue, "scheduled"), max(0, stats.waiting - ready)
            yield (queue, "leased"), stats.leased
            yield (queue, "dead"), stats.dead


def add_metrics(metrics: Metrics, parts: Parts, view: StoreView) -> None:
    """Tell the numbers of these parts."""
    metrics.refresh(view.refresh)
    _add_jobs(metrics, parts)
    _add_queues(metrics, view)
    _add_sessions(metrics, parts)
    _add_repairs(metrics, parts)
    if parts.relay is not None:
        _add_events(metrics, parts.relay, view)


def _add_jobs(metrics: Metrics, parts: Parts) -> None:
    store = parts.store
    labels = ("queue", "outcome")
    metrics.counter(f"{PREFIX}.submits", "{job}", "Jobs submitted, by what became of it", labels, store.submitted.read)
    metrics.counter(f"{PREFIX}.jobs", "{job}", "Jobs claimed, and how attempts ended", labels, store.transitions.read)
    about = "Results of leases that had been lost"
    metrics.counter(f"{PREFIX}.results.late", "{result}", about, (), one(lambda: store.late))
    about = "Leases that ended without a result"
    reaped = parts.reaper.counters
    metrics.counter(
        f"{PREFIX}.leases.ended", "{lease}", about, ("outcome",), lambda: [((name,), reaped[name]) for name in ENDINGS]
    )


def _add_queues(metrics: Metrics, view: StoreView) -> None:
    metrics.gauge(f"{PREFIX}.queue.jobs", "{job}", "Jobs in a queue, of all tenants", ("queue", "state"), view.jobs)
    metrics.gauge(
        f"{PREFIX}.queue.oldest", "s", "How long the longest waiting of the lanes' first jobs is ready", ("queue",),
        lambda: [((queue,), max(0, stats.oldest_us) / 1e6) for queue, stats in view.queues.items()],
    )  # fmt: skip
    metrics.gauge(
        f"{PREFIX}.queue.tenants", "{tenant}", "Tenants with ready jobs", ("queue",),
        lambda: [((queue,), stats.tenants) for queue, stats in view.queues.items()],
    )  # fmt: skip


def _add_sessions(metrics: Metrics, parts: Parts) -> None:
    workers, counters = parts.workers, parts.dispatcher.counters
    metrics.gauge(f"{PREFIX}.sessions", "{session}", "Sessions here", (), one(lambda: workers.measures.sessions))
    about = "Sessions that have ended"
    metrics.counter(f"{PREFIX}.sessions.ended", "{session}", about, ("how",), workers.endings.read)
    metrics.gauge(f"{PREFIX}.slots", "{slot}", "Slots of the workers here", (), one(lambda: workers.measures.slots))
    metrics.gauge(f"{PREFIX}.credit", "{slot}", "Free slots announced", (), one(lambda: workers.measures.credit))
    metrics.gauge(f"{PREFIX}.leases", "{lease}", "Leases of workers here", (), one(lambda: workers.measures.held))
    about = "Jobs found by a sweep: a wake-up was lost"
    metrics.counter(f"{PREFIX}.wakeups.lost", "{wakeup}", about, (), one(lambda: counters.lost_wakeups))
    about = "Wake-ups passed on, as there was no free slot here"
    metrics.counter(f"{PREFIX}.wakeups.passed_on", "{wakeup}", about, (), one(lambda: counters.handovers))
    about = "Jobs claimed and put back, as their session had ended"
    metrics.counter(f"{PREFIX}.jobs.returned", "{job}", about, (), one(lambda: counters.returned))
    failures = one(lambda: counters.failed_claims)
    metrics.counter(f"{PREFIX}.claims.failed", "{claim}", "Claims that the store did not answer", (), failures)


def _add_repairs(metrics: Metrics, parts: Parts) -> None:
    reconciler = parts.reconciler
    metrics.counter(
        f"{PREFIX}.repairs", "{repair}", "What the reconciler repaired", ("kind",),
        lambda: [((kind,), count) for kind, count in list(reconciler.counters.items())],
    )  # fmt: skip
    about = "Times that all jobs and indexes were compared"
    metrics.counter(f"{PREFIX}.reconciler.passes", "{pass}", about, (), one(lambda: reconciler.passes))


def _add_events(metrics: Metrics, relay: Relay, view: StoreView) -> None:
    counters = relay.counters
    about = "Events that Kafka has acknowledged"
    metrics.counter(f"{PREFIX}.events.relayed", "{event}", about, (), one(lambda: counters.relayed))
    about = "Times that sending was interrupted"
    metrics.counter(f"{PREFIX}.events.interruptions", "{interruption}", about, (), one(lambda: counters.interrupted))
    metrics.gauge(f"{PREFIX}.relay.cells", "{cell}", "Cells relayed here", (), one(lambda: counters.cells))
    metrics.gauge(
        f"{PREFIX}.events.waiting", "{event}", "Events that Kafka has not acknowledged, of all cells", (),
        lambda: [((), lag.waiting) for lag in view.outbox],
    )  # fmt: skip
    metrics.gauge(
        f"{PREFIX}.events.oldest", "s", "How long the first of them waits", (),
        lambda: [((), max(0, lag.oldest_us) / 1e6) for lag in view.outbox],
    )  # fmt: skip
    metrics.gauge(
        f"{PREFIX}.events.aside", "{event}", "Events that cannot be sent, of all cells", (),
        lambda: [((), lag.aside) for lag in view.outbox],
    )  # fmt: skip
