"""Keeps a store that fails from being asked too often."""

from __future__ import annotations

from collections.abc import Callable

from headworks_core.errors import Unavailable

FAILURES = 3
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
MAX_SERVERS = 1_000


class Breaker:
    """After FAILURES failures in a row one call a pause is let through, until one succeeds.

    Calls that were under way together fail as one: a single blip is not a failure in a row. The pause begins at
    FIRST_PAUSE_S and doubles up to LONGEST_PAUSE_S.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._failures = 0
        self._failed_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._retry_at = 0.0

    def of(self, cell: int) -> Breaker:
        """One server has every cell."""
        return self

    @property
    def open(self) -> bool:
        """Whether calls are being held back."""
        return self._failures >= FAILURES

    def admit(self) -> float:
        """Let this call through and return when that was, or raise Unavailable."""
        now = self._clock()
        if self.open:
            if now < self._retry_at:
                left_us = int((self._retry_at - now) * 1_000_000) + 1
                raise Unavailable("the store does not answer", retry_after_us=left_us)
            self._retry_at = now + self._pause_s  # the others wait for the outcome of this one
        return now

    def failed(self, admitted_at: float) -> None:
        """A call failed that was let through at `admitted_at`."""
        if admitted_at < self._failed_at:
            return
        self._failed_at = self._clock()
        self._failures += 1
        if self.open:
            self._retry_at = self._failed_at + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def succeeded(self) -> None:
        """A call that was let through succeeded."""
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S


class Breakers:
    """A breaker a server, so that one that fails takes only its own cells with it."""

    def __init__(self, clock: Callable[[], float], place: Callable[[int], str]) -> None:
        """`clock` is monotonic, in seconds; `place` names the server that has a cell now."""
        self._clock = clock
        self._place = place
        self._each: dict[str, Breaker] = {}

    def of(self, cell: int) -> Breaker:
        """The breaker of the server that has the cell now."""
        place = self._place(cell)
        known = self._each.get(place)
        if known is None:
            if len(self._each) >= MAX_SERVERS:  # servers that have long gone, under addresses that nobody has any more
                self._each.clear()
            known = self._each[place] = Breaker(self._clock)
        return known

    @property
    def open(self) -> int:
        """How many servers are being spared."""
        return sum(breaker.open for breaker in self._each.values())
