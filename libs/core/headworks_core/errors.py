"""The kinds of error a service answers with, free of any transport.

`Reason` is the public list of docs/errors.md; clients raise the same classes that services raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """What exactly went wrong, for programs. Values are never renamed."""

    INVALID_FIELD = "INVALID_FIELD"
    BATCH_SIZE = "BATCH_SIZE"
    NAMESPACE_NOT_FOUND = "NAMESPACE_NOT_FOUND"
    RULE_NOT_FOUND = "RULE_NOT_FOUND"
    PERMITS_EXCEED_LIMIT = "PERMITS_EXCEED_LIMIT"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    PLATFORM_RULE = "PLATFORM_RULE"
    TOO_MANY_BUCKETS = "TOO_MANY_BUCKETS"
    GRANT_NOT_FOUND = "GRANT_NOT_FOUND"
    GRANT_NOT_HELD = "GRANT_NOT_HELD"
    GRANT_EXPIRED = "GRANT_EXPIRED"
    GRANT_SETTLED = "GRANT_SETTLED"
    RULES_INVALID = "RULES_INVALID"
    RULES_CHANGED = "RULES_CHANGED"
    RULES_NOT_FOUND = "RULES_NOT_FOUND"
    TOO_MANY_NAMESPACES = "TOO_MANY_NAMESPACES"
    QUEUE_NOT_FOUND = "QUEUE_NOT_FOUND"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    JOB_ALREADY_EXISTS = "JOB_ALREADY_EXISTS"
    JOB_FINISHED = "JOB_FINISHED"
    JOB_NOT_REDRIVABLE = "JOB_NOT_REDRIVABLE"
    QUEUE_FULL = "QUEUE_FULL"
    TENANT_QUEUE_FULL = "TENANT_QUEUE_FULL"
    OUTBOX_FULL = "OUTBOX_FULL"
    STORE_FULL = "STORE_FULL"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    STORE_UNSUITABLE = "STORE_UNSUITABLE"
    PROTOCOL_VIOLATION = "PROTOCOL_VIOLATION"
    PROTOCOL_VERSION = "PROTOCOL_VERSION"
    HEARTBEAT_MISSED = "HEARTBEAT_MISSED"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that broke a rule."""

    field: str
    description: str


class ServiceError(Exception):
    """Base of the kinds below; raise one of those.

    `reason` is for programs, the message for people, `retry_after_us` says when a retry makes sense (None: never).
    """

    default_reason = Reason.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        retry_after_us: int | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.reason = self.default_reason if reason is None else reason
        self.retry_after_us = retry_after_us
        self.violations = tuple(violations)

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


class InvalidArgument(ServiceError):
    """The request breaks a rule whatever the state of the system; do not retry as is."""

    default_reason = Reason.INVALID_FIELD


class NotFound(ServiceError):
    """The named thing does not exist, or belongs to another tenant."""


class AlreadyExists(ServiceError):
    """The id belongs to something else."""


class FailedPrecondition(ServiceError):
    """The resource is in a state that forbids the operation; do not retry as is."""


class ResourceExhausted(ServiceError):
    """A bound of the service is reached; retry later."""


class Unavailable(ServiceError):
    """Something the service depends on does not answer; the outcome may be unknown."""

    default_reason = Reason.STORE_UNAVAILABLE


def invalid(violations: Sequence[Violation]) -> InvalidArgument:
    """One error for all the fields at fault, named in its message too."""
    listed = "; ".join(f"{v.field}: {v.description}" for v in violations)
    return InvalidArgument(listed, violations=violations)
