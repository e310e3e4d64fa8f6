"""How an attempt's end becomes a `Result`."""

from __future__ import annotations

import asyncio

from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks_client.durations import to_duration

from headworks_worker import results
from headworks_worker.attempts import Attempt, Stop
from headworks_worker.errors import ResultRefused, RetryLater
from headworks_worker.failures import failure, failure_of, trace_of

UNKNOWN_TASK_DELAY_S = 30.0  # long enough for a worker that knows it to take it, short enough for a rolling upgrade


def returned(attempt: Attempt, value: object) -> pb.Result:
    """The handler returned. What cannot be sent is a PERMANENT failure."""
    try:
        result = results.encode(value)
    except ResultRefused as error:
        return failed(attempt, failure_of(error))
    return _result(attempt, success=pb.Success(result=result))


def raised(attempt: Attempt, error: BaseException) -> pb.Result | None:
    """The handler raised; None if its lease is lost. Once asked to stop, that is how it ended, whatever it raised."""
    if attempt.stop is not None:
        return stopped(attempt, attempt.stop, trace_of(error))
    if isinstance(error, asyncio.CancelledError):
        message = "the handler was cancelled, and nobody had asked for that"
        return failed(attempt, failure("CancelledError", message, job_pb2.FAILURE_CATEGORY_TRANSIENT, trace_of(error)))
    non_retryable = attempt.spec.retry.non_retryable
    outcome = pb.Failed(failure=failure_of(error, non_retryable))
    if isinstance(error, RetryLater):
        outcome.retry_after.CopyFrom(to_duration(error.delay_s))
    return _result(attempt, failed=outcome)


def stopped(attempt: Attempt, stop: Stop, trace: str = "") -> pb.Result | None:
    """The handler was asked to stop; `trace` says where it was. None if its lease is lost."""
    if stop is Stop.LOST:
        return None
    if stop is Stop.TIMED_OUT:
        message = f"the attempt ran longer than {attempt.timeout_s:g} s"
        return failed(attempt, failure("TimeoutError", message, job_pb2.FAILURE_CATEGORY_TIMEOUT, trace))
    return released(attempt, stop.value)


def failed(attempt: Attempt, how: job_pb2.Failure) -> pb.Result:
    """A failure without a delay of its own."""
    return _result(attempt, failed=pb.Failed(failure=how))


def undecodable(attempt: Attempt) -> pb.Result:
    """The spec is no JobSpec."""
    message = "the job's spec cannot be decoded"
    return failed(attempt, failure("DecodeError", message, job_pb2.FAILURE_CATEGORY_PERMANENT))


def unknown_task(attempt: Attempt) -> pb.Result:
    """No task of that name is registered here."""
    return released(attempt, "unknown_task", delay_s=UNKNOWN_TASK_DELAY_S)


def released(attempt: Attempt, reason: str, *, delay_s: float | None = None) -> pb.Result:
    """Given back, uncounted."""
    delay = None if delay_s is None else to_duration(delay_s)
    return _result(attempt, released=pb.Released(reason=reason, delay=delay))


def _result(
    attempt: Attempt,
    *,
    success: pb.Success | None = None,
    failed: pb.Failed | None = None,
    released: pb.Released | None = None,
) -> pb.Result:
    job, lease_id = attempt.key
    trace = attempt.trace
    return pb.Result(job=job, lease_id=lease_id, success=success, failed=failed, released=released, traceparent=trace)
