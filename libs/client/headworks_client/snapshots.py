"""A job as its caller sees it: frozen copies of the protos, with times as aware datetimes."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.timestamp_pb2 import Timestamp
from headworks.scheduler.v1 import job_pb2

from headworks_client.payloads import JSON, Content
from headworks_client.submissions import Submission


class JobState(StrEnum):
    """Where a job is in its life."""

    SCHEDULED = "SCHEDULED"
    READY = "READY"
    LEASED = "LEASED"
    SUCCEEDED = "SUCCEEDED"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    """A state that this version of the client does not know."""

    @property
    def terminal(self) -> bool:
        """Whether the job has ended."""
        return self in (JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELLED)


class FailureCategory(StrEnum):
    """What kind of failure it was."""

    TRANSIENT = "TRANSIENT"
    PERMANENT = "PERMANENT"
    TIMEOUT = "TIMEOUT"
    POISON = "POISON"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"
    """A category that this version of the client does not know."""


_STATES = {
    value.number: JobState(value.name.removeprefix("JOB_STATE_"))
    for value in job_pb2.JobState.DESCRIPTOR.values
    if value.number
}
_CATEGORIES = {
    value.number: FailureCategory(value.name.removeprefix("FAILURE_CATEGORY_"))
    for value in job_pb2.FailureCategory.DESCRIPTOR.values
    if value.number
}


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt failed."""

    error_class: str
    message: str
    trace: str
    category: FailureCategory


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job is; `total` is 0 when nobody knows."""

    done: int
    total: int
    message: str


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A job at one moment. The counters are described in the proto `Job`."""

    name: str
    state: JobState
    submission: Submission
    attempts: int
    failures: int
    lost_leases: int
    undelivered: int
    generation: int
    result: Content | None
    failure: Failure | None
    progress: Progress | None
    create_time: datetime.datetime | None
    schedule_time: datetime.datetime | None
    start_time: datetime.datetime | None
    finish_time: datetime.datetime | None
    cancel_requested: bool
    worker: str
    lease_id: int

    @property
    def task(self) -> str:
        """Name of the task that runs it."""
        return self.submission.task

    @classmethod
    def from_proto(cls, job: job_pb2.Job) -> JobSnapshot:
        """The job as the scheduler described it."""
        return cls(
            name=job.name,
            state=_STATES.get(job.state, JobState.UNKNOWN),
            submission=Submission.from_spec(job.spec),
            attempts=job.attempts,
            failures=job.failures,
            lost_leases=job.lost_leases,
            undelivered=job.undelivered,
            generation=job.generation,
            result=Content(job.result.data, job.result.content_type or JSON) if job.HasField("result") else None,
            failure=_failure(job.failure) if job.HasField("failure") else None,
            progress=_progress(job.progress) if job.HasField("progress") else None,
            create_time=to_time(job.create_time),
            schedule_time=to_time(job.schedule_time),
            start_time=to_time(job.start_time),
            finish_time=to_time(job.finish_time),
            cancel_requested=job.cancel_requested,
            worker=job.worker,
            lease_id=job.lease_id,
        )


def _failure(failure: job_pb2.Failure) -> Failure:
    category = _CATEGORIES.get(failure.category, FailureCategory.UNKNOWN)
    return Failure(failure.error_class, failure.message, failure.trace, category)


def _progress(progress: job_pb2.Progress) -> Progress:
    return Progress(progress.done, progress.total, progress.message)


def to_time(stamp: Timestamp) -> datetime.datetime | None:
    """An aware datetime, exact to the microsecond; None where the stamp is unset."""
    if not stamp.seconds:
        return None
    return datetime.datetime.fromtimestamp(stamp.seconds, datetime.UTC).replace(microsecond=stamp.nanos // 1000)
