"""Descriptors and costs as the limiter takes them, whatever requests hold: nothing gets past it by being too long."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

MAX_BYTES = 256
MAX_PERMITS = 1_000_000_000


def permits(cost: int | None) -> int | None:
    """The cost (None: the rules' cost table says), at most what can be asked for, more than most rules ever hold."""
    return None if cost is None else min(cost, MAX_PERMITS)


def descriptors(values: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Those that have a value. Of one that is too long the beginning stays, with a hash of the whole."""
    return {name: _fitting(value) for name, value in values if value}


def _fitting(value: str) -> str:
    raw = value.encode("utf-8", "replace")
    if len(raw) > MAX_BYTES:
        digest = hashlib.sha256(raw).hexdigest()[:32]
        raw = raw[: MAX_BYTES - 1 - len(digest)].decode("utf-8", "ignore").encode() + b"~" + digest.encode()
    return raw.decode()
