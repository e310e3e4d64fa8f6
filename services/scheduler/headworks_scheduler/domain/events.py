"""An event as the outbox holds it, as plain values."""

from __future__ import annotations

from typing import NamedTuple


class OutboxEntry(NamedTuple):
    """One transition of a job. The values are the bytes that the scripts wrote."""

    id: bytes
    """Of the outbox: `<ms>-<n>`, growing."""
    ref: bytes
    """The job: `<tenant>/<queue>/<tail>`."""
    type: bytes
    """succeeded, dead, cancelled, retrying."""
    task: bytes
    sequence: bytes
    """Number of the event among the job's, from 1."""
    attempt: bytes
    generation: bytes
    state: bytes
    """As in headworks.scheduler.v1.JobState."""
    at: bytes
    """us since the epoch."""
    trace: bytes
    """The traceparent it belongs to; empty: not sampled."""
    failure: bytes
    """A serialised headworks.scheduler.v1.Failure, or empty."""
