"""gRPC over HTTP/2, as the protocol's own document describes it; gRPC-Web comes as the same, translated by Envoy."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from urllib.parse import quote

import grpc

from headworks_core.envoy.bodies import ENCODINGS, gunzip, read_body, too_large
from headworks_core.envoy.calls import Call, Head, Metadata, Receive, Send
from headworks_core.errors import InvalidArgument

PREFIX = 5  # bytes before a message: whether it is packed, its length
MAX_MESSAGE_CHARACTERS = 2_000
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_PRINTABLE = "".join(chr(each) for each in range(0x20, 0x7F) if chr(each) != "%")
_CONTENT = (b"content-type", b"application/grpc")
_BEGIN = {"type": "http.response.start", "status": 200, "headers": [_CONTENT], "trailers": True}
_END_BODY = {"type": "http.response.body", "body": b"", "more_body": False}
_WELL = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")], "more_trailers": False}


def timeout_s(head: Head) -> float | None:
    """Seconds that the caller waits; None: it does not say. Raises InvalidArgument."""
    said = head.known.get(b"grpc-timeout")
    if said is None:
        return None
    number, unit = said[:-1], _UNIT_S.get(said[-1:])
    if unit is None or not number.isdigit() or len(number) > 8:
        raise InvalidArgument(f"grpc-timeout: {said[:20].decode('latin-1')!r} is no time")
    return int(number) * unit


def message_of(head: Head, packed: int, data: bytes, limit: int) -> bytes:
    """A message without its packing. Raises ResourceExhausted, InvalidArgument."""
    if not packed:
        return data
    if head.known.get(b"grpc-encoding") != b"gzip" or packed != 1:
        raise InvalidArgument(f"messages may be packed as {ENCODINGS.decode()} only")
    return gunzip(data, limit)


async def read_message(head: Head, receive: Receive, limit: int) -> bytes:
    """The one message of a unary request. Raises ResourceExhausted, InvalidArgument, CallerGone."""
    body = await read_body(receive, limit + PREFIX)
    if len(body) < PREFIX:
        raise InvalidArgument("the request has no message")
    packed, size = struct.unpack_from(">BI", body)
    if size > limit:
        raise too_large(limit)
    if len(body) != PREFIX + size:
        raise InvalidArgument("the request is not one whole message")
    return message_of(head, packed, body[PREFIX:], limit)


def frame(message: bytes) -> bytes:
    """A message with its prefix."""
    return struct.pack(">BI", 0, len(message)) + message


async def answer(send: Send, message: bytes) -> None:
    """The reply of a call that went well."""
    await send(_BEGIN)
    await send({"type": "http.response.body", "body": frame(message), "more_body": False})
    await send(_WELL)


async def begin(send: Send) -> None:
    """The head of replies to come, each by `write`."""
    await send(_BEGIN)


async def write(send: Send, message: bytes) -> None:
    """One reply of several."""
    await send({"type": "http.response.body", "body": frame(message), "more_body": True})


async def fail(send: Send, call: Call) -> None:
    """How a call ended that has no reply: all in the head."""
    headers = [_CONTENT, *status_of(call)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send(_END_BODY)


async def end(send: Send, call: Call) -> None:
    """How a call ended after its replies."""
    await send(_END_BODY)
    await send({"type": "http.response.trailers", "headers": status_of(call), "more_trailers": False})


def status_of(call: Call) -> list[tuple[bytes, bytes]]:
    """The status, its message and what else the caller gets in the end."""
    found = [(b"grpc-status", b"%d" % call.code())]
    if call.message:
        escaped = quote(call.message[:MAX_MESSAGE_CHARACTERS], safe=_PRINTABLE)
        found.append((b"grpc-message", escaped.encode()))
    if call.status is grpc.StatusCode.UNIMPLEMENTED:
        found.append((b"grpc-accept-encoding", ENCODINGS))
    return [*found, *_encoded(call.trailing)]


def _encoded(metadata: Metadata) -> Iterable[tuple[bytes, bytes]]:
    for name, value in metadata:
        raw = value.encode() if isinstance(value, str) else value
        yield name.encode(), base64.b64encode(raw).rstrip(b"=") if name.endswith("-bin") else raw
