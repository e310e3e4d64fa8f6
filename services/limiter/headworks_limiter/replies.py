"""Writes replies: from a verdict to the proto message."""

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


def decision(verdict: Verdict, detail: limiter_pb2.Detail) -> limiter_pb2.Decision:
    """The reply for one request, with as much as `detail` asks for."""
    reply = limiter_pb2.Decision(allowed=verdict.allowed, permits=verdict.permits)
    if not verdict.allowed:
        reply.refusal = _REFUSALS[verdict.answer]
    if verdict.answer is Answer.REPLAYED:
        reply.replayed = True
    if verdict.degraded:
        reply.degraded = True
    if not verdict.outcomes:
        return reply
    index = governing(verdict.outcomes) if len(verdict.outcomes) > 1 else 0
    outcome = verdict.outcomes[index]
    reply.governing.CopyFrom(_status(verdict.buckets[index], outcome))
    if outcome.retry_after_us:
        reply.retry_after.CopyFrom(_duration(outcome.retry_after_us))
    if detail == limiter_pb2.DETAIL_ALL:
        reply.rules.extend(map(_status, verdict.buckets, verdict.outcomes))
    return reply


def _status(bucket: Bucket, outcome: RuleOutcome) -> limiter_pb2.RuleStatus:
    status = limiter_pb2.RuleStatus(
        rule=bucket.rule.name,
        limit=bucket.rule.params.capacity,
        remaining=outcome.remaining,
        allowed=outcome.allowed,
        reset_after=_duration(outcome.reset_after_us),
    )
    if outcome.retry_after_us:
        status.retry_after.CopyFrom(_duration(outcome.retry_after_us))
    return status


def _duration(us: int) -> Duration:
    return Duration(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)
