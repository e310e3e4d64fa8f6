"""Why jobs may not join a queue, as callers hear it."""

from __future__ import annotations

from headworks_core.errors import Reason, ResourceExhausted, ServiceError

from headworks_scheduler.domain.jobs import Queue, Redriven, Submitted


def no_room(queue: Queue, tenant: str, outcome: Submitted | Redriven) -> ServiceError | None:
    """The error for a bound that was reached; None for any other outcome."""
    if outcome in (Submitted.QUEUE_FULL, Redriven.QUEUE_FULL):
        message = f"queue {queue.name} holds its {queue.max_size} waiting jobs"
        return ResourceExhausted(message, reason=Reason.QUEUE_FULL, retry_after_us=1_000_000)
    if outcome in (Submitted.TENANT_FULL, Redriven.TENANT_FULL):
        message = f"tenant {tenant} has its {queue.max_size_per_tenant} waiting jobs in queue {queue.name}"
        return ResourceExhausted(message, reason=Reason.TENANT_QUEUE_FULL, retry_after_us=1_000_000)
    if outcome in (Submitted.OUTBOX_FULL, Redriven.OUTBOX_FULL):
        message = "too many events wait for Kafka; jobs are refused until it has taken some"
        return ResourceExhausted(message, reason=Reason.OUTBOX_FULL, retry_after_us=5_000_000)
    return None
