"""The worker's metrics: every name, unit and label in one place. They are explained in docs/metrics.md."""

from __future__ import annotations

from headworks_core.metrics import Metrics, one

from headworks_worker.worker import Worker

PREFIX = "headworks.worker"


def add_metrics(metrics: Metrics, worker: Worker) -> None:
    """Tell the numbers of this worker, which runs. Labels are names of tasks that it knows."""
    pool, session = worker.pool_counters, worker.session_counters
    labels = ("task", "outcome")
    metrics.counter(f"{PREFIX}.attempts", "{attempt}", "Attempts by how they ended", labels, pool.attempts.read)
    about = "How long handlers ran, from the arrival of their job"
    metrics.histogram(f"{PREFIX}.attempt.duration", "s", about, ("task",), pool.durations.read)
    metrics.gauge(f"{PREFIX}.running", "{attempt}", "Attempts that run", (), one(lambda: worker.running))
    metrics.gauge(f"{PREFIX}.slots", "{slot}", "Attempts that may run", (), one(lambda: worker.slots))
    about = "1 while the worker is attached to a scheduler and hears it"
    metrics.gauge(f"{PREFIX}.attached", "", about, (), one(lambda: session.attached))
    metrics.counter(f"{PREFIX}.sessions", "{session}", "Sessions begun", (), one(lambda: session.begun))
    metrics.counter(f"{PREFIX}.leases.lost", "{lease}", "Leases lost while held", (), one(lambda: session.lost))
    metrics.counter(f"{PREFIX}.results.late", "{result}", "Results refused as late", (), one(lambda: session.late))
    about = "Results that the scheduler has not acknowledged"
    metrics.gauge(f"{PREFIX}.results.waiting", "{result}", about, (), one(lambda: worker.results_waiting))
    about = "How much later than planned heartbeats went out"
    delay = session.beat_delay
    metrics.histogram(f"{PREFIX}.heartbeat.delay", "s", about, (), lambda: [((), delay)])
