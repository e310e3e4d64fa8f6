"""Bodies of requests: read whole, unpacked, and never larger than allowed."""

from __future__ import annotations

import zlib

from headworks_core.envoy.calls import Receive
from headworks_core.errors import InvalidArgument, ResourceExhausted

GZIP = 16 + zlib.MAX_WBITS
ENCODINGS = b"identity,gzip"


class CallerGone(Exception):
    """The caller went before it had sent its message."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises ResourceExhausted beyond `limit` bytes, CallerGone when it never ends."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        event = await receive()
        if event["type"] != "http.request":
            raise CallerGone
        part: bytes = event.get("body", b"")
        more = event.get("more_body", False)
        if not parts and not more and len(part) <= limit:
            return part
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
    return b"".join(parts)


def gunzip(data: bytes, limit: int) -> bytes:
    """What was packed. Raises ResourceExhausted beyond `limit` bytes, InvalidArgument when it is broken."""
    unpacker = zlib.decompressobj(GZIP)
    try:
        found = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise InvalidArgument("the message is not what its encoding says: gzip") from error
    if len(found) > limit:
        raise too_large(limit)
    if not unpacker.eof:
        raise InvalidArgument("the message ends before its gzip does")
    return found


def too_large(limit: int) -> ResourceExhausted:
    """The error of a message that is larger than allowed."""
    return ResourceExhausted(f"the message is larger than {limit} bytes")
