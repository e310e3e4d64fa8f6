"""What a caller submits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks_core.names import uuid7

from headworks_client.durations import to_duration, to_seconds
from headworks_client.payloads import JSON


class Level(IntEnum):
    """The named priority levels; every number from 0 to 9 is one."""

    CRITICAL = 0
    HIGH = 2
    NORMAL = 5
    LOW = 7
    BULK = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When to try again; None means what the queue says. See RetryPolicy in the protos for defaults and bounds."""

    max_attempts: int | None = None
    initial_backoff_s: float | None = None
    max_backoff_s: float | None = None
    multiplier: float | None = None
    jitter: float | None = None
    non_retryable: tuple[str, ...] = ()
    """Names of error classes, short or qualified; their subclasses count too."""

    def to_proto(self) -> job_pb2.RetryPolicy:
        """The policy on the wire."""
        return job_pb2.RetryPolicy(
            max_attempts=self.max_attempts or 0,
            initial_backoff=None if self.initial_backoff_s is None else to_duration(self.initial_backoff_s),
            max_backoff=None if self.max_backoff_s is None else to_duration(self.max_backoff_s),
            multiplier=self.multiplier,
            jitter=self.jitter,
            non_retryable=self.non_retryable,
        )

    @classmethod
    def from_proto(cls, policy: job_pb2.RetryPolicy) -> Retry:
        """The policy as its job carries it."""
        return cls(
            max_attempts=policy.max_attempts or None,
            initial_backoff_s=to_seconds(policy.initial_backoff) if policy.HasField("initial_backoff") else None,
            max_backoff_s=to_seconds(policy.max_backoff) if policy.HasField("max_backoff") else None,
            multiplier=policy.multiplier if policy.HasField("multiplier") else None,
            jitter=policy.jitter if policy.HasField("jitter") else None,
            non_retryable=tuple(policy.non_retryable),
        )


@dataclass(frozen=True, slots=True)
class Submission:
    """One job to be made. Seconds are floats; None means what the queue says.

    `request_id` (a UUID) makes repeating a submit safe across calls; without one the client makes one per call, which
    makes only its own retries safe.
    """

    task: str
    payload: bytes = b""
    content_type: str = JSON
    level: int | None = None
    lane: str = ""
    delay_s: float = 0.0
    expire_after_s: float | None = None
    attempt_timeout_s: float | None = None
    retry: Retry | None = None
    request_id: str = ""
    traceparent: str = ""

    def to_proto(self, traceparent: str = "") -> pb.JobSubmission:
        """The submission on the wire, always with a request id; `traceparent` is used where it has none of its own."""
        spec = job_pb2.JobSpec(task=self.task, level=self.level, lane=self.lane)
        if self.payload:
            spec.payload.data = self.payload
        if self.content_type != JSON:
            spec.payload.content_type = self.content_type
        if self.delay_s:
            spec.delay.CopyFrom(to_duration(self.delay_s))
        if self.expire_after_s is not None:
            spec.expire_after.CopyFrom(to_duration(self.expire_after_s))
        if self.attempt_timeout_s is not None:
            spec.attempt_timeout.CopyFrom(to_duration(self.attempt_timeout_s))
        if self.retry is not None:
            spec.retry.CopyFrom(self.retry.to_proto())
        return pb.JobSubmission(
            spec=spec, request_id=self.request_id or uuid7(), traceparent=self.traceparent or traceparent
        )

    @classmethod
    def from_spec(cls, spec: job_pb2.JobSpec) -> Submission:
        """What a job was submitted with."""
        return cls(
            task=spec.task,
            payload=spec.payload.data,
            content_type=spec.payload.content_type or JSON,
            level=spec.level if spec.HasField("level") else None,
            lane=spec.lane,
            delay_s=to_seconds(spec.delay),
            expire_after_s=to_seconds(spec.expire_after) if spec.HasField("expire_after") else None,
            attempt_timeout_s=to_seconds(spec.attempt_timeout) if spec.HasField("attempt_timeout") else None,
            retry=Retry.from_proto(spec.retry) if spec.HasField("retry") else None,
        )
