"""What the scheduler knows of a job, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from headworks_scheduler.domain.retry import RetryPolicy

DEFAULT_LEVEL = 5


class State(IntEnum):
    """As in headworks.scheduler.v1.JobState; docs/scheduler-states.md has the transitions."""

    SCHEDULED = 1
    READY = 2
    LEASED = 3
    SUCCEEDED = 4
    DEAD = 5
    CANCELLED = 6


class Category(IntEnum):
    """As in headworks.scheduler.v1.FailureCategory."""

    TRANSIENT = 1
    PERMANENT = 2
    TIMEOUT = 3
    POISON = 4
    EXPIRED = 5


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of the platform, as its operators configured it."""

    name: str = "default"
    max_size: int = 1_000_000
    max_size_per_tenant: int = 1_000_000
    attempt_timeout_us: int = 1_800_000_000
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    retention_us: int = 0
    """How long finished jobs are kept; 0: as long as the service keeps them."""
    max_finished: int = 0
    """Finished jobs kept at most; 0: as many as its cell keeps."""
    tenant_weights: Mapping[str, int] = field(default_factory=dict)
    lane_weights: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewJob:
    """One submission, checked. `fresh`: the id was made here, so no look-up is needed."""

    queue: Queue
    tenant: str
    tail: str
    fresh: bool
    spec: bytes
    task: str
    level: int = DEFAULT_LEVEL
    lane: str = ""
    traceparent: str = ""
    delay_us: int = 0
    expire_us: int = 0
    timeout_us: int = 0
    retry: str = RetryPolicy().encode()


class Filter(NamedTuple):
    """Which jobs; 0, empty or None fit all."""

    state: int = 0
    task: str = ""
    lane: str | None = None
    category: int = 0
    error_class: str = ""


class Position(NamedTuple):
    """A place in an index: the last entry that was looked at."""

    score: int
    tail: str


class Submitted(IntEnum):
    """What became of a submission."""

    CREATED = 0
    EXISTING = 1
    CONFLICT = 2
    QUEUE_FULL = 3
    TENANT_FULL = 4
    OUTBOX_FULL = 5


class Redriven(IntEnum):
    """What became of a request to redrive; bounds as in Submitted."""

    DONE = 0
    MISSING = 1
    NOT_REDRIVABLE = 2
    QUEUE_FULL = 3
    TENANT_FULL = 4
    OUTBOX_FULL = 5


class Claimed(NamedTuple):
    """A job that was just leased."""

    name: str
    lease_id: int
    attempt: int
    spec: bytes
    traceparent: str
    timeout_us: int


class Held(NamedTuple):
    """A lease that a worker says it holds; `progress` is a serialised Progress, empty when nothing is new."""

    ref: str
    lease_id: int
    progress: bytes = b""


class Beat(IntEnum):
    """Answer to a held lease."""

    RENEWED = 0
    LOST = 1
    CANCEL_REQUESTED = 2


class Completion(NamedTuple):
    """A handler returned."""

    ref: str
    lease_id: int
    result: bytes
    content_type: str
    traceparent: str = ""


class FailedAttempt(NamedTuple):
    """A handler failed. `failure` is a serialised Failure, `event_failure` the same without its trace."""

    ref: str
    lease_id: int
    failure: bytes
    event_failure: bytes
    retryable: bool
    retry_after_us: int = -1
    """Chosen by the handler; -1: the policy decides."""
    luck_milli: int = 0
    """Uniform in 0..999, for the jitter."""
    traceparent: str = ""


class Release(NamedTuple):
    """A worker gives a job back, uncounted."""

    ref: str
    lease_id: int
    delay_us: int = 0
    traceparent: str = ""


class CancelOutcome(IntEnum):
    """What became of a request to cancel."""

    CANCELLED = 0
    REQUESTED = 1
    FINISHED = 2
    MISSING = 3
