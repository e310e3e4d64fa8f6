"""Writes replies: a verdict into the proto message, in place, for half the cost of copying; or into bytes."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from headworks.limiter.v1 import limiter_pb2
from headworks_core.errors import ServiceError
from headworks_core.grpc_errors import item_error

from headworks_limiter.domain.ask import Verdict
from headworks_limiter.domain.decision import Answer
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.rule import Bucket, Rule

_REFUSALS = {
    Answer.REFUSED: limiter_pb2.REFUSAL_LIMITED,
    Answer.STORE_FAILURE: limiter_pb2.REFUSAL_STORE_FAILURE,
}


class ResultWriter:
    """Writes results as bytes. Keeps a reply for each rule, of which only the numbers change from one to the next."""

    def __init__(self) -> None:
        self._granted: dict[Rule, _Granted] = {}
        self._limited: dict[Rule, _Limited] = {}

    def result(self, verdict: Verdict, detail: limiter_pb2.Detail) -> bytes:
        """A PermitResult with a decision, with as much as `detail` asks for."""
        outcomes = verdict.outcomes
        if detail == limiter_pb2.DETAIL_ALL or verdict.degraded or not outcomes:
            return _whole(verdict, detail)
        index = verdict.governing
        if index is None or verdict.wait_us or verdict.grant_id:
            return _whole(verdict, detail)
        rule = verdict.buckets[index].rule
        if verdict.answer is Answer.ALLOWED:
            granted = self._granted.get(rule)
            if granted is None:
                granted = self._granted[rule] = _Granted(rule)
            return granted.with_numbers(verdict.permits, outcomes[index])
        if verdict.answer is Answer.REFUSED:
            limited = self._limited.get(rule)
            if limited is None:
                limited = self._limited[rule] = _Limited(rule)
            return limited.with_numbers(outcomes[index])
        return _whole(verdict, detail)


class _Granted:
    """A result that allows a request, governed by one rule."""

    def __init__(self, rule: Rule) -> None:
        self._result = limiter_pb2.PermitResult()
        self._decision = self._result.decision
        self._status = self._decision.governing
        self._reset = self._status.reset_after
        self._decision.allowed = True
        self._status.rule, self._status.limit, self._status.allowed = rule.name, rule.params.capacity, True
        self._reset.SetInParent()

    def with_numbers(self, permits: int, outcome: RuleOutcome) -> bytes:
        """The result with these numbers."""
        self._decision.permits = permits
        self._status.remaining = outcome[1]
        self._reset.seconds, left_us = divmod(outcome[2], 1_000_000)
        self._reset.nanos = left_us * 1000
        return self._result.SerializeToString()


class _Limited:
    """A result that refuses a request, governed by one rule."""

    def __init__(self, rule: Rule) -> None:
        self._result = limiter_pb2.PermitResult()
        decision = self._result.decision
        decision.refusal = limiter_pb2.REFUSAL_LIMITED
        self._status = decision.governing
        self._status.rule, self._status.limit = rule.name, rule.params.capacity
        self._reset, self._waits = self._status.reset_after, (self._status.retry_after, decision.retry_after)

    def with_numbers(self, outcome: RuleOutcome) -> bytes:
        """The result with these numbers; a rule that refuses always says how long to wait."""
        self._status.remaining = outcome.remaining
        write_duration(self._reset, outcome.reset_after_us)
        for wait in self._waits:
            write_duration(wait, outcome.retry_after_us)
        return self._result.SerializeToString()


def error_result(error: ServiceError) -> bytes:
    """A PermitResult with an error, as bytes."""
    return limiter_pb2.PermitResult(error=item_error(error)).SerializeToString()


def _whole(verdict: Verdict, detail: limiter_pb2.Detail) -> bytes:
    result = limiter_pb2.PermitResult()
    write(result.decision, verdict, detail)
    return result.SerializeToString()


def write(reply: limiter_pb2.Decision, verdict: Verdict, detail: limiter_pb2.Detail) -> None:
    """Fill in the reply for one request, with as much as `detail` asks for."""
    if verdict.allowed:
        reply.allowed = True
        reply.permits = verdict.permits
        reply.replayed = verdict.answer is Answer.REPLAYED
        if verdict.grant_id:
            reply.grant_id = verdict.grant_id
            write_duration(reply.grant_expires_after, verdict.held_us)
        if verdict.wait_us:
            write_duration(reply.wait, verdict.wait_us)
    else:
        reply.refusal = _REFUSALS[verdict.answer]
    reply.degraded = verdict.degraded
    outcomes = verdict.outcomes
    if not outcomes:
        return
    index = verdict.governing
    if index is not None:
        write_status(reply.governing, verdict.buckets[index], outcomes[index])
        if outcomes[index].retry_after_us:
            write_duration(reply.retry_after, outcomes[index].retry_after_us)
    if detail == limiter_pb2.DETAIL_ALL:
        for bucket, outcome in zip(verdict.buckets, outcomes, strict=True):
            write_status(reply.rules.add(), bucket, outcome)


def write_status(status: limiter_pb2.RuleStatus, bucket: Bucket, outcome: RuleOutcome) -> None:
    """Fill in what one rule says."""
    allowed, remaining, reset_after_us, retry_after_us = outcome
    status.rule = bucket.rule.name
    status.limit = bucket.rule.params.capacity
    status.remaining = remaining
    status.allowed = allowed
    status.shadow = bucket.rule.shadow
    write_duration(status.reset_after, reset_after_us)
    if retry_after_us:
        write_duration(status.retry_after, retry_after_us)


def write_duration(duration: Duration, us: int) -> None:
    """Fill in microseconds."""
    duration.seconds, left_us = divmod(us, 1_000_000)
    duration.nanos = left_us * 1000
