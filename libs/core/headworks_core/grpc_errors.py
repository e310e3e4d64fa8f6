"""The one table between error kinds and gRPC statuses, in both directions."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from headworks.common.v1 import error_pb2

from headworks_core import errors
from headworks_core.measures import PROCESS

DOMAIN = "headworks.dev"

CODE_OF: dict[type[errors.ServiceError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}
KIND_OF = {code.value[0]: kind for kind, code in CODE_OF.items()}
# A server's gRPC cancels calls that it has no room for, and those that it has not begun when it stops.
_NOT_ANSWERED = frozenset(code.value[0] for code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED))


def code_of(error: errors.ServiceError) -> grpc.StatusCode:
    """The status of the nearest listed base class; INTERNAL when there is none."""
    known = (CODE_OF[kind] for kind in type(error).__mro__ if kind in CODE_OF)
    return next(known, grpc.StatusCode.INTERNAL)


def status_of(error: errors.ServiceError) -> status_pb2.Status:
    """The rich status: ErrorInfo always, BadRequest and RetryInfo where they apply."""
    PROCESS.errors[error.reason.value,] += 1
    details: list[any_pb2.Any] = []
    _pack(details, error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN))
    if error.violations:
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations[:20]  # details must fit the metadata limit of 8 KiB
        ]
        _pack(details, error_details_pb2.BadRequest(field_violations=fields))
    if error.retry_after_us is not None:
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(error.retry_after_us)
        _pack(details, error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(code=code_of(error).value[0], message=error.message[:2000], details=details)


def _pack(
    details: list[any_pb2.Any],
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> None:
    packed = any_pb2.Any()
    packed.Pack(message)
    details.append(packed)


async def abort(context: grpc.aio.ServicerContext[object, object], error: errors.ServiceError) -> NoReturn:
    """End the call with the error's rich status."""
    status = rpc_status.to_status(status_of(error))
    context.set_trailing_metadata(status.trailing_metadata)
    await context.abort(status.code, status.details)
    raise AssertionError("abort always raises")


def item_error(error: errors.ServiceError) -> error_pb2.ItemError:
    """The error of one item of a batch."""
    PROCESS.errors[error.reason.value,] += 1
    return error_pb2.ItemError(
        code=code_of(error).value[0],
        reason=error.reason.value,
        message=error.message,
        field_violations=[error_pb2.FieldViolation(field=v.field, description=v.description) for v in error.violations],
    )


def from_item(item: error_pb2.ItemError) -> errors.ServiceError:
    """The typed error that an item's error stands for."""
    violations = [errors.Violation(v.field, v.description) for v in item.field_violations]
    return _typed(item.code, item.reason, item.message, None, violations)


def from_call(error: grpc.RpcError) -> errors.ServiceError:
    """The typed error that a failed call stands for; INTERNAL-like codes come back as ServiceError."""
    code: grpc.StatusCode = error.code()
    reason, retry_after_us, violations = "", None, []
    status = _rich_status(error)
    for detail in status.details if status else ():
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            violations = [errors.Violation(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(retry):
            retry_after_us = retry.retry_delay.ToMicroseconds()
    message = error.details() or code.name.lower().replace("_", " ")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        message = "no such method there: the address is another service's, or the service is older than its caller"
    return _typed(code.value[0], reason, message, retry_after_us, violations)


def _rich_status(error: grpc.RpcError) -> status_pb2.Status | None:
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    return None


def _typed(
    code: int, reason: str, message: str, retry_after_us: int | None, violations: list[errors.Violation]
) -> errors.ServiceError:
    if code in _NOT_ANSWERED:
        kind: type[errors.ServiceError] = errors.Unavailable
    else:
        kind = KIND_OF.get(code, errors.ServiceError)
    known = errors.Reason(reason) if reason in errors.Reason.__members__ else None
    return kind(message, reason=known, retry_after_us=retry_after_us, violations=violations)
