"""What the limiter answers, as frozen values; seconds are floats."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headworks.limiter.v1 import admin_service_pb2, limiter_pb2, limiter_service_pb2

from headworks_client.durations import to_seconds


class Refusal(StrEnum):
    """Why a request was refused."""

    LIMITED = "LIMITED"
    STORE_FAILURE = "STORE_FAILURE"


_REFUSALS = {limiter_pb2.REFUSAL_LIMITED: Refusal.LIMITED, limiter_pb2.REFUSAL_STORE_FAILURE: Refusal.STORE_FAILURE}


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """One rule's bucket after the decision."""

    rule: str
    limit: int
    remaining: int
    reset_after_s: float
    retry_after_s: float
    allowed: bool
    shadow: bool = False
    """The rule is on trial: it counts and tells, and refuses nothing."""

    @classmethod
    def from_proto(cls, rule: limiter_pb2.RuleStatus) -> RuleStatus:
        """The status as the limiter sent it."""
        return cls(
            rule.rule,
            rule.limit,
            rule.remaining,
            to_seconds(rule.reset_after),
            to_seconds(rule.retry_after) if rule.HasField("retry_after") else 0.0,
            rule.allowed,
            rule.shadow,
        )


@dataclass(frozen=True, slots=True)
class RuleExplanation:
    """What a rule makes of a request."""

    rule: str
    why_not: str
    """Why the request does not meet it; empty when it does."""
    status: RuleStatus | None
    """What its bucket holds; None when the request does not meet it."""
    overridden: bool
    """An override holds in place of the rule as it is written."""

    @classmethod
    def from_proto(cls, rule: admin_service_pb2.RuleExplanation) -> RuleExplanation:
        """The explanation as the limiter sent it."""
        return cls(
            rule.rule,
            rule.why_not,
            RuleStatus.from_proto(rule.status) if rule.HasField("status") else None,
            rule.overridden,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer for one request; `rules` is filled on request only, `governing` is None when no rule matched."""

    allowed: bool
    permits: int
    refusal: Refusal | None
    retry_after_s: float
    governing: RuleStatus | None
    rules: tuple[RuleStatus, ...]
    degraded: bool
    replayed: bool
    wait_s: float = 0.0
    """How long to wait before using the permits."""
    grant_id: str = ""
    """What `settle`, `release` and `renew` call the grant; empty when it was given for good."""
    grant_expires_after_s: float = 0.0
    """How long what it holds is held, unless it is renewed."""

    @classmethod
    def from_proto(cls, decision: limiter_pb2.Decision) -> Decision:
        """The decision as the limiter sent it."""
        return cls(
            allowed=decision.allowed,
            permits=decision.permits,
            refusal=_REFUSALS.get(decision.refusal),
            retry_after_s=to_seconds(decision.retry_after) if decision.HasField("retry_after") else 0.0,
            governing=RuleStatus.from_proto(decision.governing) if decision.HasField("governing") else None,
            rules=tuple([RuleStatus.from_proto(rule) for rule in decision.rules]),
            degraded=decision.degraded,
            replayed=decision.replayed,
            wait_s=to_seconds(decision.wait) if decision.HasField("wait") else 0.0,
            grant_id=decision.grant_id,
            grant_expires_after_s=to_seconds(decision.grant_expires_after) if decision.grant_id else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Learned:
    """What the limiter has made of a report about an upstream."""

    blocked_for_s: float
    """How long nothing will be granted to such requests; 0: not blocked."""
    rules: tuple[str, ...]
    """The rules that have changed by it."""

    @classmethod
    def from_proto(cls, reply: limiter_service_pb2.ReportOutcomeResponse) -> Learned:
        """The reply as the limiter sent it."""
        return cls(to_seconds(reply.blocked_for), tuple(reply.rules))
