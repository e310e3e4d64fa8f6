"""Traffic: made by a rate, or read from a trace."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

SECOND_US = 1_000_000
MAX_ARRIVALS = 5_000_000


class TraceError(ValueError):
    """A line of a trace cannot be used; the message says which and why."""


class Arrival(NamedTuple):
    """One request."""

    at_us: int
    """Since the epoch."""
    tenant: str
    namespace: str
    descriptors: Mapping[str, str]
    permits: int | None = None
    """None: what the cost table says."""


def constant(one: Arrival, *, every_us: float, until_us: int, seed: int | None = None) -> Iterator[Arrival]:
    """`one` again and again until `until_us`: evenly, or at random (exponential gaps) with a seed."""
    rng = None if seed is None else random.Random(seed)
    number, at = 0, float(one.at_us)
    while at < until_us:
        yield one._replace(at_us=int(at))
        number += 1
        at = one.at_us + number * every_us if rng is None else at + rng.expovariate(1 / every_us)


def trace(path: Path, *, tenant: str, namespace: str) -> list[Arrival]:
    """The requests in a file, in the order of their times. Raises TraceError or OSError.

    JSON lines or CSV with a header. `time` is REQUIRED, in seconds since the epoch or ISO 8601; `permits`, `tenant` and
    `namespace` are what they say; every other field is a descriptor, or left out where it is empty.
    """
    with path.open(newline="") as file:
        rows = csv.DictReader(file) if path.suffix == ".csv" else _json_lines(file)
        try:
            found = [_arrival(row, number, tenant, namespace) for number, row in enumerate(rows, 2)]
        except UnicodeDecodeError as error:
            raise TraceError(f"not UTF-8: {error}") from error
    return sorted(found, key=lambda arrival: arrival.at_us)


def _json_lines(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise TraceError(f"line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise TraceError(f"line {number}: not a JSON object")
        yield row | {"_line": number}


def _arrival(row: dict[str, Any], number: int, tenant: str, namespace: str) -> Arrival:
    line = row.pop("_line", number)
    fields = {key: str(value) for key, value in row.items() if key is not None and value not in (None, "")}
    try:
        at_us = _time_us(fields.pop("time"))
        permits = int(fields.pop("permits")) if "permits" in fields else None
    except KeyError:
        raise TraceError(f"line {line}: 'time' is missing") from None
    except ValueError as error:
        raise TraceError(f"line {line}: {error}") from error
    return Arrival(at_us, fields.pop("tenant", tenant), fields.pop("namespace", namespace), fields, permits)


def _time_us(text: str) -> int:
    try:
        return round(float(text) * SECOND_US)
    except ValueError:
        moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * SECOND_US)
