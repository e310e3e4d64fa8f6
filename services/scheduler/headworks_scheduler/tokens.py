"""Page tokens: opaque to callers, checked when they come back, bound to what they were given for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Sequence

from headworks_core.errors import InvalidArgument, Violation
from headworks_core.names import UUID

from headworks_scheduler.domain.jobs import Position

_WORDS = re.compile(rf"(\d{{1,16}}) ({UUID.pattern}) (\d{{1,16}})")
_CHECK_BYTES = 9
Scope = Sequence[object]
"""What a token is good for: plain values that JSON knows."""


def encode(scope: Scope, position: Position, cutoff_us: int = 0) -> str:
    """A token for the page after `position`."""
    words = f"{position.score} {position.tail} {cutoff_us}".encode()
    return base64.urlsafe_b64encode(_check(scope, words) + words).decode()


def decode(token: str, scope: Scope) -> tuple[Position, int]:
    """What a token was made of; InvalidArgument for one that was made for another scope, or not by `encode`."""
    try:
        decoded = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid() from None
    check, words = decoded[:_CHECK_BYTES], decoded[_CHECK_BYTES:]
    match = _WORDS.fullmatch(words.decode(errors="replace"))
    if match is None or check != _check(scope, words):
        raise _invalid()
    return Position(int(match[1]), match[2]), int(match[3])


def _check(scope: Scope, words: bytes) -> bytes:
    return hashlib.sha256(json.dumps(list(scope)).encode() + b"\n" + words).digest()[:_CHECK_BYTES]


def _invalid() -> InvalidArgument:
    rule = "must be the next_page_token of a call with the same queue and filter"
    return InvalidArgument(f"page_token: {rule}", violations=[Violation("page_token", rule)])
