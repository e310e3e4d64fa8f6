"""What of an upstream's answer is worth telling the limiter."""

from __future__ import annotations

from collections.abc import Mapping

MAX_FIELDS = 32
MAX_NAME_CHARS = 64
MAX_VALUE_CHARS = 1024


def limit_fields(headers: Mapping[str, str]) -> dict[str, str]:
    """The fields that speak of limits (with `Date`, which their times are held against), as many as a limiter takes."""
    found = {
        name.lower(): value
        for name, value in headers.items()
        if _speaks_of_limits(name.lower())
        and len(name) <= MAX_NAME_CHARS
        and len(value) <= MAX_VALUE_CHARS
        and (name + value).isascii()
    }
    chosen = dict(list(found.items())[: MAX_FIELDS - 1])
    date = next((value for name, value in headers.items() if name.lower() == "date"), "")
    if chosen and date.isascii() and 0 < len(date) <= MAX_VALUE_CHARS:
        chosen["date"] = date
    return chosen


def _speaks_of_limits(name: str) -> bool:
    return "ratelimit" in name or "rate-limit" in name or "retry-after" in name
