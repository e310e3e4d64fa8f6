"""What one rule says about one request."""

from __future__ import annotations

from typing import NamedTuple


class RuleOutcome(NamedTuple):
    """One rule's bucket, after the permits were taken from it or, where that is refused, as it stands."""

    allowed: bool
    remaining: int
    """Permits left, 0 to the bucket's capacity."""
    reset_after_us: int
    """Until the bucket is full again if nothing more is taken, in microseconds, rounded up."""
    retry_after_us: int
    """Until the same request is allowed if nobody else asks, in microseconds, rounded up; 0 when it is allowed."""
