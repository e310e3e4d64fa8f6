"""What stands in HTTP fields: counts, waits, dates, lists of items with parameters. What is no such thing is None.

Sources: RFC 9110 sections 5.6.7 (dates) and 10.2.3 (Retry-After), RFC 9651 (lists and parameters), and what servers
send in their stead. Nothing here raises, and all work is linear in the length of a value.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime
from email.utils import parsedate_tz
from typing import NamedTuple

MAX_CHARS = 1024
"""Longer values are not read."""
MAX_ITEMS = 16
"""Items of a list that are read."""

_DECIMAL = re.compile(r"\+?([0-9]{1,18})(?:\.([0-9]{0,9})[0-9]*)?")
_PART = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?(d|h|ms|min|m|seconds|secs?|s|us|µs|ns)")
_UNIT_NS = {
    **dict.fromkeys(("s", "sec", "secs", "seconds"), 10**9),
    **dict.fromkeys(("m", "min"), 60 * 10**9),
    **{"d": 86_400 * 10**9, "h": 3_600 * 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1},
}
_EPOCHS = ((10**14, 10**3), (10**11, 10**6), (10**9, 10**9))
"""Numbers from the first on are points in time, in units of so many ns: us, ms and s since 1970. As waits the
smallest of them would be 31 years long; as points in time they begin in 2001 (s) and 1973 (the others)."""


class Item(NamedTuple):
    """A member of a list: `name;key=value`, or of a dictionary: `name=value`. Names and keys in lower case."""

    name: str
    value: str
    parameters: dict[str, str]


def count(text: str) -> int | None:
    """A number of requests, decimals cut off (`98.0` is 98)."""
    match = _DECIMAL.fullmatch(text.strip())
    return int(match[1]) if match else None


def wait_us(text: str, *, now_us: int) -> int | None:
    """How long from `now_us` (us since the epoch), in us, rounded up; 0 for what is past.

    Understands seconds (`120`, `0.5`), points in time as numbers (told apart by size) and as dates, and durations with
    units (`6m0s`).
    """
    text = text.strip().strip("\"'").strip()
    if not text or len(text) > MAX_CHARS:
        return None
    match = _DECIMAL.fullmatch(text)
    if match is None:
        moment_us = date_us(text)
        return _duration_us(text) if moment_us is None else max(0, moment_us - now_us)
    number = int(match[1])
    unit_ns = next((unit for least, unit in _EPOCHS if number >= least), 0)
    us = _us(match, unit_ns or 10**9)
    return max(0, us - now_us) if unit_ns else us


def date_us(text: str) -> int | None:
    """The point in time of an HTTP date (any of the three forms, also a bit off) or of ISO 8601, in us since 1970.

    Without a zone it is UTC.
    """
    if len(text) > MAX_CHARS or not any(character.isdigit() for character in text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0, calendar.timegm(moment.utctimetuple()) * 1_000_000 + moment.microsecond)
    except (ValueError, OverflowError):
        pass
    try:
        fields = parsedate_tz(text)
        if fields is None or not 1970 <= fields[0] <= 9999:
            return None
        return max(0, (calendar.timegm((*fields[:6], 0, 0, 0)) - (fields[9] or 0)) * 1_000_000)
    except (ValueError, TypeError, IndexError, OverflowError):  # what the parser says of some nonsense
        return None


def items(text: str) -> list[Item]:
    """The members of a list, commas and semicolons within quotes aside; the first MAX_ITEMS of them."""
    if len(text) > MAX_CHARS:
        return []
    return [_item(member) for member in _split(text, ",")[:MAX_ITEMS] if member]


def _item(text: str) -> Item:
    head, *rest = _split(text, ";")
    name, _, value = head.partition("=") if not head.startswith('"') else (head, "", "")
    pairs = (part.partition("=") for part in rest)
    return Item(_bare(name).lower(), _bare(value), {_bare(key).lower(): _bare(told) for key, _, told in pairs})


def _bare(text: str) -> str:
    return text.strip().strip('"')


def _split(text: str, separator: str) -> list[str]:
    parts, begin, quoted, escaped = [], 0, False, False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            parts.append(text[begin:index].strip())
            begin = index + 1
    return [*parts, text[begin:].strip()]


def _duration_us(text: str) -> int | None:
    """`6m0s`, `120 seconds`, `20ms`; rounded up."""
    compact = "".join(text.lower().split())
    total_us, at = 0, 0
    while at < len(compact):
        match = _PART.match(compact, at)
        if match is None:
            return None
        total_us += _us(match, _UNIT_NS[match[3]])
        at = match.end()
    return total_us


def _us(match: re.Match[str], unit_ns: int) -> int:
    """The whole and decimal part of a match, in units of `unit_ns`, as us, rounded up."""
    billionths = int(match[1]) * 10**9 + int((match[2] or "").ljust(9, "0"))
    return -(-billionths * unit_ns // 10**12)
