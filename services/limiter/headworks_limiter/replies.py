"""Writes replies: from a verdict to the proto message, in place, which costs half of building and copying."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from headworks.limiter.v1 import limiter_pb2

from headworks_limiter.domain.ask import Verdict
from headworks_limiter.domain.decision import Answer, governing
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.rule import Bucket

_REFUSALS = {
    Answer.REFUSED: limiter_pb2.REFUSAL_LIMITED,
    Answer.STORE_FAILURE: limiter_pb2.REFUSAL_STORE_FAILURE,
}


def write(reply: limiter_pb2.Decision, verdict: Verdict, detail: limiter_pb2.Detail) -> None:
    """Fill in the reply for one request, with as much as `detail` asks for."""
    if verdict.allowed:
        reply.allowed = True
        reply.permits = verdict.permits
        reply.replayed = verdict.answer is Answer.REPLAYED
    else:
        reply.refusal = _REFUSALS[verdict.answer]
    reply.degraded = verdict.degraded
    outcomes = verdict.outcomes
    if not outcomes:
        return
    index = governing(outcomes) if len(outcomes) > 1 else 0
    _write_status(reply.governing, verdict.buckets[index], outcomes[index])
    if outcomes[index].retry_after_us:
        _write_duration(reply.retry_after, outcomes[index].retry_after_us)
    if detail == limiter_pb2.DETAIL_ALL:
        for bucket, outcome in zip(verdict.buckets, outcomes, strict=True):
            _write_status(reply.rules.add(), bucket, outcome)


def _write_status(status: limiter_pb2.RuleStatus, bucket: Bucket, outcome: RuleOutcome) -> None:
    allowed, remaining, reset_after_us, retry_after_us = outcome
    status.rule = bucket.rule.name
    status.limit = bucket.rule.params.capacity
    status.remaining = remaining
    status.allowed = allowed
    _write_duration(status.reset_after, reset_after_us)
    if retry_after_us:
        _write_duration(status.retry_after, retry_after_us)


def _write_duration(duration: Duration, us: int) -> None:
    duration.seconds, left_us = divmod(us, 1_000_000)
    duration.nanos = left_us * 1000
