"""Waiting times between tries that spread out."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from `first_s` to `most_s`, less a random part of at most half; the first may be anything down to 0."""

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._tries = 0

    def reset(self) -> None:
        """It works again."""
        self._tries = 0

    def next_s(self) -> float:
        """Seconds to wait before the next try."""
        self._tries += 1
        if self._tries == 1:
            return random.uniform(0, self._first_s)
        whole = min(self._first_s * 2 ** min(self._tries - 1, 30), self._most_s)
        return random.uniform(whole / 2, whole)
