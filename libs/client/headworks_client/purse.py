"""Permits on lease in this process: a pure account of what is left of each lease, and for how long."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Held:
    """A lease; `left` of its permits may be spent before `until`, in seconds of a monotonic clock."""

    lease_id: str
    """Empty: there is no limit, and nothing to give back."""
    permits: int
    left: int
    until: float

    @property
    def spent(self) -> int:
        """Permits that were spent."""
        return self.permits - self.left


class Purse:
    """Leases in the order in which they came. The first one's `left` may be lowered from outside."""

    def __init__(self) -> None:
        self._held: deque[Held] = deque()

    @property
    def first(self) -> Held | None:
        """The lease that is spent from."""
        return self._held[0] if self._held else None

    @property
    def spent(self) -> int:
        """Permits that were spent, of the leases in it."""
        return sum(held.spent for held in self._held)

    @property
    def next_end(self) -> float | None:
        """When the next lease ends."""
        return min((held.until for held in self._held), default=None)

    def add(self, held: Held) -> None:
        """Another lease came."""
        self._held.append(held)

    def left(self, now: float) -> int:
        """Permits that may be spent."""
        return sum(held.left for held in self._held if now < held.until)

    def spend(self, permits: int, now: float) -> bool:
        """Spend so many, from several leases if need be, or none."""
        if self.left(now) < permits:
            return False
        for held in self._held:
            part = min(permits, held.left) if now < held.until else 0
            held.left -= part
            permits -= part
        return True

    def take_over(self, now: float) -> list[Held]:
        """Take out the leases that have ended or are used up."""
        over = [held for held in self._held if now >= held.until or not held.left]
        if over:
            self._held = deque(held for held in self._held if held not in over)
        return over

    def take_all(self) -> list[Held]:
        """Take out every lease."""
        everything = list(self._held)
        self._held.clear()
        return everything
