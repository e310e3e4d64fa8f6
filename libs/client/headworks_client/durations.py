"""Seconds as floats on our side, `google.protobuf.Duration` on the wire."""

from __future__ import annotations

import math

from google.protobuf.duration_pb2 import Duration


def to_duration(seconds: float) -> Duration:
    """Whole microseconds, rounded to the nearest."""
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} s is no duration")
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return Duration(seconds=whole, nanos=micros * 1_000)


def to_seconds(duration: Duration) -> float:
    """Exact to the microsecond for anything below a century."""
    return duration.seconds + duration.nanos / 1e9
