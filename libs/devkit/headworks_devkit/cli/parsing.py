"""Arguments as people write them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from headworks_client import Level

from headworks_devkit.cli.exits import misused

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def duration_s(text: str) -> float:
    """Seconds of "500ms", "10s", "5m", "1h", "2d" or a bare number of seconds."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise misused(f"{text!r} is no duration; write e.g. 500ms, 10s, 5m, 1h, 2d")
    return float(match[1]) * _UNIT_S[match[2]]


def level(text: str) -> int:
    """A priority level by its number, 0 to 9, or its name."""
    if text.isdigit() and int(text) <= 9:
        return int(text)
    try:
        return int(Level[text.upper()])
    except KeyError:
        names = ", ".join(member.name.lower() for member in Level)
        raise misused(f"{text!r} is no level; write 0 (most urgent) to 9, or {names}") from None


def pairs(items: list[str]) -> dict[str, str]:
    """`key=value` arguments."""
    found = dict(item.split("=", 1) for item in items if "=" in item)
    wrong = [item for item in items if "=" not in item]
    if wrong:
        raise misused(f"{wrong[0]!r} is not key=value")
    return found


def payload(text: str, arguments: list[str]) -> bytes:
    """A job's input: a JSON object given as text, as @file or as - (standard input), plus key=value arguments.

    A value that is JSON counts as that, any other as text.
    """
    found = _object(_source(text)) if text else {}
    found |= {key: _value(value) for key, value in pairs(arguments).items()}
    return json.dumps(found).encode() if found else b""


def _source(text: str) -> str:
    if text == "-":
        return sys.stdin.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise misused(f"{text[1:]} cannot be read: {error}") from error
    return text


def _object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise misused(f"the payload is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise misused("the payload must be a JSON object: the task's keyword arguments")
    return found


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
