"""The Connect protocol's unary calls: a POST with a message as JSON or protobuf, a reply with the same."""

from __future__ import annotations

import base64
import json
from typing import Any

import grpc
from google.rpc import status_pb2

from headworks_core.envoy.bodies import gunzip, read_body
from headworks_core.envoy.calls import Call, Head, Receive, Send
from headworks_core.errors import InvalidArgument

JSON, PROTO = b"application/json", b"application/proto"
CONTENT_TYPES = frozenset({JSON, PROTO})
DETAILS = "grpc-status-details-bin"
HTTP_STATUS: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}


def timeout_s(head: Head) -> float | None:
    """Seconds that the caller waits; None: it does not say. Raises InvalidArgument."""
    said = head.known.get(b"connect-timeout-ms")
    if said is None:
        return None
    if not said.isdigit() or len(said) > 10:
        raise InvalidArgument(f"connect-timeout-ms: {said[:20].decode('latin-1')!r} is no number of milliseconds")
    return int(said) / 1000


async def read_message(head: Head, receive: Receive, limit: int) -> bytes:
    """The request's message. Raises ResourceExhausted, InvalidArgument, CallerGone."""
    body = await read_body(receive, limit)
    encoding = head.known.get(b"content-encoding", b"identity")
    if encoding == b"identity":
        return body
    if encoding != b"gzip":
        raise InvalidArgument("content-encoding: must be identity or gzip")
    return gunzip(body, limit)


async def answer(send: Send, content_type: bytes, message: bytes) -> None:
    """The reply of a call that went well."""
    await _reply(send, 200, content_type, message)


async def fail(send: Send, call: Call) -> None:
    """How a call ended that has no reply."""
    name = "canceled" if call.status is grpc.StatusCode.CANCELLED else call.status.name.lower()
    told: dict[str, Any] = {"code": name, "message": call.message}
    for key, value in call.trailing:
        if key == DETAILS and isinstance(value, bytes):
            told["details"] = _details(value)
    await _reply(send, HTTP_STATUS[call.status], JSON, json.dumps(told).encode())


def _details(status: bytes) -> list[dict[str, str]]:
    return [
        {
            "type": detail.type_url.rpartition("/")[2],
            "value": base64.b64encode(detail.value).decode().rstrip("="),
        }
        for detail in status_pb2.Status.FromString(status).details
    ]


async def _reply(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
