"""When a process that died is started again, and when that is no use."""

from __future__ import annotations

from collections import deque

FIRST_S = 0.25
LONGEST_S = 10.0
MOST_DEATHS = 5
WITHIN_S = 60.0


class Restarts:
    """The deaths of one process. It is given up when it dies MOST_DEATHS times within WITHIN_S seconds."""

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=MOST_DEATHS)

    def delay_s(self, now_s: float) -> float | None:
        """It has died: how long to wait before it is started again, twice as long each time; None: give it up."""
        self._deaths.append(now_s)
        recent = sum(now_s - at < WITHIN_S for at in self._deaths)
        return None if recent == MOST_DEATHS else min(FIRST_S * 2 ** (recent - 1), LONGEST_S)
