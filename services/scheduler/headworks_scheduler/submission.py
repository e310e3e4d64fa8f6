"""From a submission on the wire to a checked `NewJob`."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from headworks.scheduler.v1 import job_pb2, scheduler_service_pb2
from headworks_core.context import MAX_TRACEPARENT, CallContext
from headworks_core.errors import Violation, invalid
from headworks_core.names import LANE, TASK, UUID, uuid7
from headworks_core.telemetry import is_sampled

from headworks_scheduler.domain.jobs import DEFAULT_LEVEL, NewJob, Queue
from headworks_scheduler.domain.retry import RetryPolicy

MS, DAY = 1_000, 86_400_000_000
MAX_CONTENT_TYPE = 100


class SubmissionReader:
    """Checks submissions against the bounds that the protos state."""

    def __init__(self, *, max_payload_bytes: int) -> None:
        self._max_payload_bytes = max_payload_bytes

    def read(self, job: scheduler_service_pb2.JobSubmission, queue: Queue, caller: CallContext) -> NewJob:
        """A job to be recorded; InvalidArgument naming every field at fault."""
        spec, request_id = job.spec, job.request_id
        violations: list[Violation] = []
        if not TASK.fullmatch(spec.task):
            violations.append(Violation("spec.task", "required: 1 to 200 of [A-Za-z0-9_.:-]"))
        if spec.lane and not LANE.fullmatch(spec.lane):
            violations.append(Violation("spec.lane", "at most 128 of [A-Za-z0-9_.:@-]"))
        if not 0 <= spec.level <= 9:
            violations.append(Violation("spec.level", "0 to 9"))
        if request_id and not UUID.fullmatch(request_id):
            violations.append(Violation("request_id", "a UUID in lower case, or empty"))
        if len(job.traceparent) > MAX_TRACEPARENT:
            violations.append(Violation("traceparent", f"at most {MAX_TRACEPARENT} characters"))
        self._check_payload(spec.payload, violations)
        delay_us = expire_us = 0
        timeout_us, retry = queue.attempt_timeout_us, queue.retry
        if spec.HasField("delay"):
            delay_us = _micros(spec.delay, "spec.delay", 0, 366 * DAY, violations)
        if spec.HasField("expire_after"):
            expire_us = _micros(spec.expire_after, "spec.expire_after", MS, 366 * DAY, violations)
        if spec.HasField("attempt_timeout"):
            timeout_us = _micros(spec.attempt_timeout, "spec.attempt_timeout", MS, 7 * DAY, violations)
        if spec.HasField("retry"):
            retry = _policy(spec.retry, queue.retry, violations)
        if violations:
            raise invalid(violations)
        trace = job.traceparent or caller.traceparent
        return NewJob(
            queue,
            caller.tenant,
            request_id or uuid7(),
            not request_id,
            spec.SerializeToString(deterministic=True),
            spec.task,
            spec.level if spec.HasField("level") else DEFAULT_LEVEL,
            spec.lane,
            trace if is_sampled(trace) else "",
            delay_us,
            expire_us,
            timeout_us,
            retry.encode(),
        )

    def _check_payload(self, payload: job_pb2.Payload, violations: list[Violation]) -> None:
        size = len(payload.data)
        if size > self._max_payload_bytes:
            violations.append(Violation("spec.payload.data", f"{size} bytes; at most {self._max_payload_bytes}"))
        if len(payload.content_type) > MAX_CONTENT_TYPE:
            violations.append(Violation("spec.payload.content_type", f"at most {MAX_CONTENT_TYPE} characters"))


def _micros(value: Duration, field: str, low_us: int, high_us: int, violations: list[Violation]) -> int:
    micros = value.seconds * 1_000_000 + value.nanos // 1_000
    if not low_us <= micros <= high_us:
        violations.append(Violation(field, f"{low_us / 1e6:g} s to {high_us / 1e6:g} s"))
    return micros


def _policy(retry: job_pb2.RetryPolicy, default: RetryPolicy, violations: list[Violation]) -> RetryPolicy:
    attempts = retry.max_attempts or default.max_attempts
    if not 1 <= attempts <= 100:
        violations.append(Violation("spec.retry.max_attempts", "1 to 100"))
    initial_us, max_us = default.initial_us, default.max_us
    if retry.HasField("initial_backoff"):
        initial_us = _micros(retry.initial_backoff, "spec.retry.initial_backoff", MS, DAY, violations)
        max_us = max(max_us, initial_us)
    if retry.HasField("max_backoff"):
        max_us = _micros(retry.max_backoff, "spec.retry.max_backoff", initial_us, 7 * DAY, violations)
    multiplier, jitter = default.multiplier_milli, default.jitter_milli
    if retry.HasField("multiplier"):
        multiplier = _milli(retry.multiplier, "spec.retry.multiplier", 1, 10, violations)
    if retry.HasField("jitter"):
        jitter = _milli(retry.jitter, "spec.retry.jitter", 0, 1, violations)
    if len(retry.non_retryable) > 20 or any(not 0 < len(name) <= 200 for name in retry.non_retryable):
        violations.append(Violation("spec.retry.non_retryable", "at most 20 names of 1 to 200 characters"))
    return RetryPolicy(attempts, initial_us, max_us, multiplier, jitter)


def _milli(value: float, field: str, low: int, high: int, violations: list[Violation]) -> int:
    if not low <= value <= high:  # NaN is outside too
        violations.append(Violation(field, f"{low} to {high}"))
        return low * 1000
    return round(value * 1000)
