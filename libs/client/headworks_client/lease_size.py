"""How many permits the next lease has, and when it is asked for: as few as carry on for a while, without a pause.

All times are in seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GROWTH = 4
"""A lease has at most so many times the permits of the one before: one burst does not take everything from others."""
SMOOTHING = 0.3
"""The share of the latest round trip in their average."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the caller allows."""

    least: int
    most: int
    target_s: float
    """How long a lease should last."""

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"least, most: 1 or more, in this order, not {self.least}, {self.most}")
        if not 0.01 <= self.target_s <= 60:
            raise ValueError(f"target_s: 0.01 to 60, not {self.target_s}")


@dataclass(slots=True)
class Pace:
    """How fast permits are spent, and how long a lease takes to come."""

    bounds: Bounds
    per_s: float = 0.0
    round_trip_s: float = 0.0
    last: int = 0
    """Permits of the last lease."""

    def next_size(self) -> int:
        """Permits to ask for."""
        wanted = math.ceil(min(self.per_s * self.bounds.target_s, self.bounds.most))
        ceiling = max(self.last * GROWTH, self.bounds.least)
        return max(self.bounds.least, min(wanted, ceiling, self.bounds.most))

    def low_mark(self) -> int:
        """Permits that are spent while the next lease comes, twice over; at most half of a lease."""
        return min(math.ceil(self.per_s * 2 * self.round_trip_s), self.last // 2)

    def came(self, permits: int, round_trip_s: float, *, spent: int, over_s: float) -> None:
        """A lease came; since the last one `spent` permits were spent in `over_s`."""
        if self.last:
            latest = spent / max(over_s, 1e-6)
            share = 1.0 if latest > self.per_s else min(1.0, over_s / self.bounds.target_s)
            self.per_s += share * (latest - self.per_s)
        known_s = self.round_trip_s or round_trip_s
        self.round_trip_s = known_s + SMOOTHING * (round_trip_s - known_s)
        self.last = permits
