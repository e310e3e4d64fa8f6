"""What an upstream's answer says about how much it still takes: from status and headers to a Feedback.

Sources: RFC 9110 (503, Retry-After), RFC 6585 (429), draft-ietf-httpapi-ratelimit-headers versions 3 (RateLimit-Limit,
-Remaining, -Reset), 7 (`limit=, remaining=, reset=`) and 11 (`"name";r=;t=`), and what providers document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from headworks_limiter.domain import http_fields

MAX_BLOCK_US = 86_400 * 1_000_000
"""A day: however long an upstream wants to be left alone, somebody asks it again after that."""
MAX_RESET_US = 366 * 86_400 * 1_000_000
MAX_LATENCY_US = 86_400 * 1_000_000
MAX_FIELDS = 128
"""Fields of an answer that are looked at."""
MAX_CLOCK_GAP_US = 86_400 * 1_000_000
"""By how much the upstream's `Date` may differ from our clock and still be believed."""

_OVERLOADED = frozenset({420, 429, 509, 529})
_RETRY_AFTER = (("retry-after-ms", "ms"), ("x-ms-retry-after-ms", "ms"), ("retry-after", ""), ("x-retry-after", ""))
_PREFIXES = ("ratelimit", "x-ratelimit", "x-rate-limit", "rate-limit")
_FAMILIES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    *((f"{of}-limit", f"{of}-remaining", (f"{of}-reset-after", f"{of}-reset")) for of in _PREFIXES),
    ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", ("x-ratelimit-reset-requests",)),
    (
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        ("anthropic-ratelimit-requests-reset",),
    ),
    ("x-discogs-ratelimit", "x-discogs-ratelimit-remaining", ()),
)
"""Fields that belong together: the limit, what remains of it, and when it is full again (the first that is there)."""


class Kind(StrEnum):
    """What an answer says of the upstream's health."""

    OK = "ok"
    """It did its work."""
    OVERLOAD = "overload"
    """It wants fewer requests."""
    FAILURE = "failure"
    """It failed, or gave no answer."""
    IGNORED = "ignored"
    """The request was at fault; this says nothing of the upstream."""


class Feedback(NamedTuple):
    """What one answer says. Numbers are never negative; None is: not said."""

    kind: Kind
    block_us: int
    """How long to send nothing, from now on; 0: not said. At most MAX_BLOCK_US."""
    remaining: int | None
    """Requests left by the tightest of the upstream's policies."""
    limit: int | None
    """All the requests of that policy."""
    reset_us: int | None
    """Until that policy is full again, from now on. At most MAX_RESET_US."""
    latency_us: int | None
    """How long the answer took. Only that of an OK says how busy the upstream is: refusals come fast."""


class _State(NamedTuple):
    """What one policy says."""

    remaining: int | None
    limit: int | None
    reset_us: int | None

    @property
    def tightness(self) -> tuple[bool, int, int]:
        """Smaller is tighter: fewer requests left, then the longer wait."""
        return self.remaining is None, self.remaining or 0, -(self.reset_us or 0)


def read(status: int, headers: Mapping[str, str], *, now_us: int, latency_us: int | None = None) -> Feedback:
    """What an HTTP answer says; `status` 0 is a request that got none (timeout, broken connection). Never raises.

    `now_us` is in us since the epoch. Points in time are held against the upstream's own clock where it says (`Date`).
    """
    fields = {name.lower(): value for name, value in islice(headers.items(), MAX_FIELDS)}
    now_us = _upstream_now(fields, now_us)
    states = _states(fields, now_us)
    waits = [state.reset_us or 0 for state in states if state.remaining == 0]
    retry_us = _retry_after(fields, now_us)
    kind = _kind(status, asks_to_wait=retry_us is not None, used_up=bool(waits))
    tightest = min(states, key=lambda state: state.tightness, default=_State(None, None, None))
    block_us = max(waits, default=0)
    if kind is Kind.OVERLOAD and not waits and tightest.remaining is None:
        block_us = tightest.reset_us or 0
    if retry_us and kind in {Kind.OVERLOAD, Kind.FAILURE}:  # on others it is about redirects and polling
        block_us = retry_us
    reset_us = None if tightest.reset_us is None else min(tightest.reset_us, MAX_RESET_US)
    told = latency_us if latency_us is not None and 0 <= latency_us <= MAX_LATENCY_US else None
    return Feedback(kind, min(block_us, MAX_BLOCK_US), tightest.remaining, tightest.limit, reset_us, told)


def _kind(status: int, *, asks_to_wait: bool, used_up: bool) -> Kind:
    if status in _OVERLOADED or (status == 503 and asks_to_wait):
        return Kind.OVERLOAD
    if status == 403 and (asks_to_wait or used_up):  # GitHub's way of saying 429
        return Kind.OVERLOAD
    if status in {0, 408} or 500 <= status <= 599:
        return Kind.FAILURE
    return Kind.OK if 100 <= status <= 399 else Kind.IGNORED


def _upstream_now(fields: Mapping[str, str], now_us: int) -> int:
    said_us = http_fields.date_us(fields["date"].strip()) if "date" in fields else None
    return said_us if said_us is not None and abs(said_us - now_us) <= MAX_CLOCK_GAP_US else now_us


def _retry_after(fields: Mapping[str, str], now_us: int) -> int | None:
    for name, unit in _RETRY_AFTER:
        value = fields.get(name, "")
        wait_us = http_fields.wait_us(value + unit, now_us=now_us)
        if wait_us is None and "," in value:  # told several times, by a proxy too
            parts = [http_fields.wait_us(item.name + unit, now_us=now_us) for item in http_fields.items(value)]
            wait_us = max((part for part in parts if part is not None), default=None)
        if wait_us is not None:
            return wait_us
    return None


def _states(fields: Mapping[str, str], now_us: int) -> list[_State]:
    """What each policy says that is told in any of the dialects."""
    found = _policies(fields, now_us)
    for limit, remaining, resets in _FAMILIES:
        reset = next((fields[name] for name in resets if name in fields), "")
        found += _numbered(fields.get(limit, ""), fields.get(remaining, ""), reset, now_us)
    return found


def _policies(fields: Mapping[str, str], now_us: int) -> list[_State]:
    """RateLimit and RateLimit-Policy, by the names of the policies."""
    quotas = {item.name: item.parameters.get("q", item.name) for item in _items(fields, "ratelimit-policy")}
    told = _items(fields, "ratelimit")
    whole = {item.name: item.value for item in told if item.value}
    if "remaining" in whole:  # version 7: one policy, its numbers as members
        return _numbered(whole.get("limit", ""), whole["remaining"], whole.get("reset", ""), now_us)
    states = [
        _State(
            http_fields.count(item.parameters.get("r", "")),
            http_fields.count(quotas.get(item.name, "")),
            http_fields.wait_us(item.parameters.get("t", ""), now_us=now_us),
        )
        for item in told
    ]
    if not states:
        limits = [limit for limit in map(http_fields.count, quotas.values()) if limit is not None]
        return [_State(None, min(limits), None)] if limits else []
    return [state for state in states if state != (None, None, None)]


def _items(fields: Mapping[str, str], name: str) -> Sequence[http_fields.Item]:
    return http_fields.items(fields[name]) if name in fields else ()


def _numbered(limit: str, remaining: str, reset: str, now_us: int) -> list[_State]:
    """Limit, remaining and reset, each a number or, where a field came several times, a list of as many."""
    if not (limit or remaining or reset):
        return []
    lefts = [count for item in http_fields.items(remaining) if (count := http_fields.count(item.name)) is not None]
    limits = [count for item in http_fields.items(limit) if (count := http_fields.count(item.name)) is not None]
    whole = http_fields.wait_us(reset, now_us=now_us)
    parts = [reset] if whole is not None else [item.name for item in http_fields.items(reset)]
    resets = [wait for part in parts if (wait := http_fields.wait_us(part, now_us=now_us)) is not None]
    if len(lefts) == len(resets) > 1:
        several = limits if len(limits) == len(lefts) else [None] * len(lefts)
        return [_State(*told) for told in zip(lefts, several, resets, strict=True)]
    if not (lefts or limits or resets):
        return []
    return [_State(min(lefts, default=None), limits[0] if limits else None, max(resets, default=None))]
