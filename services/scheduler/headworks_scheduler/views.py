"""From a job's stored fields to the `Job` that callers see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.timestamp_pb2 import Timestamp
from headworks.scheduler.v1 import job_pb2

from headworks_scheduler.domain.jobs import Category

TERMINAL = frozenset({b"4", b"5", b"6"})
_COUNTERS = {
    "attempts": "attempts",
    "failures": "failures",
    "lost": "lost_leases",
    "undelivered": "undelivered",
    "lease": "lease_id",
}


def is_terminal(fields: dict[str, bytes]) -> bool:
    """Whether the job has ended."""
    return fields["state"] in TERMINAL


def job_view(name: str, fields: dict[str, bytes]) -> job_pb2.Job:
    """The job as callers see it."""
    job = job_pb2.Job(name=name, state=int(fields["state"]), generation=int(fields.get("gen", 1)))  # type: ignore[arg-type]
    job.spec.ParseFromString(fields["spec"])
    for field, attribute in _COUNTERS.items():
        if field in fields:
            setattr(job, attribute, int(fields[field]))
    job.create_time.CopyFrom(_time(fields["created"]))
    if "started" in fields:
        job.start_time.CopyFrom(_time(fields["started"]))
        job.worker = fields["worker"].decode()
    if "finished" in fields:
        job.finish_time.CopyFrom(_time(fields["finished"]))
    if job.state == job_pb2.JOB_STATE_SCHEDULED:
        job.schedule_time.CopyFrom(_time(fields["due"]))
    if job.state == job_pb2.JOB_STATE_LEASED:
        job.cancel_requested = "cancel" in fields
    if "progress" in fields:
        job.progress.ParseFromString(fields["progress"])
    if "failure" in fields:
        job.failure.ParseFromString(fields["failure"])
    if "result" in fields:
        job.result.data = fields["result"]
        job.result.content_type = fields["type"].decode()
    return job


def by_bytes(jobs: Iterable[job_pb2.Job], limit: int) -> Iterator[list[job_pb2.Job]]:
    """The jobs in order, in groups that end with the one that reaches `limit` bytes."""
    group: list[job_pb2.Job] = []
    size = 0
    for job in jobs:
        group.append(job)
        size += job.ByteSize()
        if size >= limit:
            yield group
            group, size = [], 0
    if group:
        yield group


def _time(micros: bytes) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(int(micros))
    return stamp


def expired_failure() -> bytes:
    """The dead letter of a job that no worker had in time."""
    return _failure("Expired", "it was not started before it expired", Category.EXPIRED)


def poison_failure() -> bytes:
    """The dead letter of a job whose workers were lost too often."""
    return _failure("LeaseLost", "its worker was lost while running it, too often", Category.POISON)


def _failure(error_class: str, message: str, category: Category) -> bytes:
    failure = job_pb2.Failure(error_class=error_class, message=message, category=int(category))  # type: ignore[arg-type]
    return failure.SerializeToString()
