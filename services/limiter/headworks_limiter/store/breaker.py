"""Keeps a store that fails from being asked too often."""

from __future__ import annotations

from collections.abc import Callable

from headworks_core.errors import Unavailable

FAILURES = 3
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0


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
