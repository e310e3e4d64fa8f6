"""Quota leases that this replica has given: how much may be spent late."""

from __future__ import annotations

from collections.abc import Callable

MAX_KNOWN = 100_000


class Leases:
    """Permits on lease, by lease; those of a replica that has gone are forgotten with it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._known: dict[str, tuple[float, int, bool]] = {}
        self.granted = 0
        """Permits given on lease since the start."""

    def begun(self, lease: str, permits: int, expires_s: float, *, inexact: bool) -> None:
        """A lease was given; `inexact`: what is spent late may exceed the limit."""
        self.granted += permits
        if len(self._known) >= MAX_KNOWN:
            self._prune()
        self._known[lease] = (self._clock() + expires_s, permits, inexact)

    def ended(self, lease: str) -> None:
        """It was given back."""
        self._known.pop(lease, None)

    @property
    def outstanding(self) -> int:
        """Permits that may still be spent."""
        self._prune()
        return sum(permits for _, permits, _ in list(self._known.values()))

    @property
    def bound(self) -> int:
        """Permits by which limits may be exceeded at most, because they are spent late."""
        self._prune()
        return sum(permits for _, permits, inexact in list(self._known.values()) if inexact)

    def _prune(self) -> None:
        now = self._clock()
        for lease, (expires, _, _) in list(self._known.items()):
            if expires <= now:
                self._known.pop(lease, None)
