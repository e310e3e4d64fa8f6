"""From a submission on the wire to a checked `NewJob`."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from headworks.scheduler.v1 import job_pb2, scheduler_service_pb2
from headworks_core.context import MAX_TRACEPARENT, CallContext
from headworks_core.errors import Violation, invalid
from headworks_core.names import CONTENT_TYPE, LANE, TASK, UUID, uuid7
from headworks_core.telemetry import is_sampled

from headworks_scheduler.domain.jobs import DEFAULT_LEVEL, NewJob, Queue
from headworks_scheduler.domain.retry import RetryPolicy

MS, DAY = 1_000, 86_400_000_000


class SubmissionReader:
    """Checks submissions against the bounds that the protos state."""

    def __init__(self, *, max_payload_bytes: int) -> None:
        self._max_payload_bytes = max_payload_bytes

    def read(
        self, job: scheduler_service_pb2.JobSubmission, queue: Queue, caller: CallContext, path: str = ""
    ) -> NewJob:
        """A job to be recorded; InvalidArgument naming every field at fault, with `path` before it."""
        spec, request_id = job.spec, job.request_id
        violations: list[Violation] = []
        if not TASK.fullmatch(spec.task):
            violations.append(Violation(f"{path}spec.task", "required: 1 to 200 of [A-Za-z0-9_.:-]"))
        if spec.lane and not LANE.fullmatch(spec.lane):
            violations.append(Violation(f"{path}spec.lane", "at most 128 of [A-Za-z0-9_.:@-]"))
        if not 0 <= spec.level <= 9:
            violations.append(Violation(f"{path}spec.level", "0 to 9"))
        if request_id and not UUID.fullmatch(request_id):
            violations.append(Violation(f"{path}request_id", "a UUID in lower case, or empty"))
        if len(job.traceparent) > MAX_TRACEPARENT:
            violations.append(Violation(f"{path}traceparent", f"at most {MAX_TRACEPARENT} characters"))
        self._check_payload(spec.payload, path, violations)
        delay_us = expire_us = 0
        timeout_us, retry = queue.attempt_timeout_us, queue.retry
        if spec.HasField("delay"):
            delay_us = _micros(spec.delay, f"{path}spec.delay", 0, 366 * DAY, violations)
        if spec.HasField("expire_after"):
            expire_us = _micros(spec.expire_after, f"{path}spec.expire_after", MS, 366 * DAY, violations)
        if spec.HasField("attempt_timeout"):
            timeout_us = _micros(spec.attempt_timeout, f"{path}spec.attempt_timeout", MS, 7 * DAY, violations)
        if spec.HasField("retry"):
            retry = _policy(spec.retry, queue.retry, path, violations)
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

    def _check_payload(self, payload: job_pb2.Payload, path: str, violations: list[Violation]) -> None:
        size = len(payload.data)
        if size > self._max_payload_bytes:
            violations.append(Violation(f"{path}spec.payload.data", f"{size} bytes; at most {self._max_payload_bytes}"))
        if not CONTENT_TYPE.fullmatch(payload.content_type):
            rule = "at most 100 printable characters of ASCII"
            violations.append(Violation(f"{path}spec.payload.content_type", rule))


def _micros(value: Duration, field: str, low_us: int, high_us: int, violations: list[Violation]) -> int:
    micros = value.seconds * 1_000_000 + value.nanos // 1_000
    crooked = abs(value.nanos) >= 1_000_000_000 or value.seconds * value.nanos < 0
    if crooked or not low_us <= micros <= high_us:
        violations.append(Violation(field, f"{low_us / 1e6:g} s to {high_us / 1e6:g} s"))
    return micros


def _policy(retry: job_pb2.RetryPolicy, default: RetryPolicy, path: str, violations: list[Violation]) -> RetryPolicy:
    attempts = retry.max_attempts or default.max_attempts
    if not 1 <= attempts <= 100:
        violations.append(Violation(f"{path}spec.retry.max_attempts", "1 to 100"))
    initial_us, max_us = default.initial_us, default.max_us
    if retry.HasField("initial_backoff"):
        initial_us = _micros(retry.initial_backoff, f"{path}spec.retry.initial_backoff", MS, DAY, violations)
        max_us = max(max_us, initial_us)
    if retry.HasField("max_backoff"):
        max_us = _micros(retry.max_backoff, f"{path}spec.retry.max_backoff", initial_us, 7 * DAY, violations)
    multiplier, jitter = default.multiplier_milli, default.jitter_milli
    if retry.HasField("multiplier"):
        multiplier = _milli(retry.multiplier, f"{path}spec.retry.multiplier", 1, 10, violations)
    if retry.HasField("jitter"):
        jitter = _milli(retry.jitter, f"{path}spec.retry.jitter", 0, 1, violations)
    if len(retry.non_retryable) > 20 or any(not 0 < len(name) <= 200 for name in retry.non_retryable):
        violations.append(Violation(f"{path}spec.retry.non_retryable", "at most 20 names of 1 to 200 characters"))
    return RetryPolicy(attempts, initial_us, max_us, multiplier, jitter)


def _milli(value: float, field: str, low: int, high: int, violations: list[Violation]) -> int:
    if not low <= value <= high:  # NaN is outside too
        violations.append(Violation(field, f"{low} to {high}"))
        return low * 1000
    return round(value * 1000)
