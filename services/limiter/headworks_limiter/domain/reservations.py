"""Reservations: what rules of the platform have given, until the tenant's own rules have decided too.

States: a reservation *stands* from the moment at which it is made, its permits taken; it is *confirmed* (its permits
stay taken), *refunded* (they come back, as `settle` says), or *ends by itself* when nobody has done either in time. Who
asked is told yes after the confirmation and not before, and one that has ended cannot be confirmed. So what comes back
was never granted to anybody, whoever dies when. See docs/adr/0019-platform-rules.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple


class Conclusion(IntEnum):
    """How a reservation is ended. The numbers are those of conclude.lua."""

    REFUND = 0
    """It never happened: all comes back."""
    REFUSE = 1
    """The tenant's rules refused: all comes back, but from rules that count what is refused."""
    CONFIRM = 2
    """It is granted, and has cost `permits`."""


class Ending(NamedTuple):
    """One reservation, and how it ends."""

    conclusion: Conclusion
    record: str
    """The key of its record."""
    permits: int
    """What it has cost, when it is confirmed: at most what was reserved."""
    kept: bool
    """Whether its record stays when it is confirmed: for whom asks again, or settles it."""


class Concluded(NamedTuple):
    """What came of ending reservations of one cell."""

    expired: int
    """Reservations that have ended by themselves, found now."""
    expired_permits: int
    standing: int
    """Reservations that stand."""
    standing_permits: int
    """Of those; told only when no ending was asked for."""
    done: Sequence[bool]
    """For each ending whether the reservation stood; also for what was confirmed before, if its record is kept."""
