"""Concurrency: at most `limit` permits are held at a time; each hold ends when it is released, or after `ttl_us`.

A counting semaphore (Dijkstra, 1965) whose permits are leased, so that a holder who dies gives back what it held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from headworks_limiter.domain import holds
from headworks_limiter.domain.outcome import RuleOutcome

MAX_LIMIT = 1_000
"""So many holds are some 60 KB."""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """The thresholds of one rule."""

    limit: int
    ttl_us: int

    @property
    def capacity(self) -> int:
        """Permits that may be held."""
        return self.limit

    @property
    def kind(self) -> str:
        """What of it makes its buckets others."""
        return "concurrency"

    @property
    def thresholds(self) -> tuple[str | int, ...]:
        """As the script takes them."""
        return "concurrency", self.limit, self.ttl_us, 0, 0

    def share(self, replicas: int) -> Self:
        """The part of one replica among `replicas` that cannot see each other; at least one permit."""
        return type(self)(max(1, self.limit // replicas), self.ttl_us)


def take(
    state: str | None, permits: int, params: Concurrency, now_us: int, holder: str = ""
) -> tuple[RuleOutcome, str | None]:
    """Hold `permits` (0 to the limit; 0 only looks), if so many are free; otherwise the state stays as it is.

    A state is `holder:until:permits,...`. `retry_after` is how long it takes at most: until enough holds have ended by
    themselves.
    """
    there = holds.read(state or "", now_us)
    free = params.limit - holds.held(there)
    if permits > free:
        wait_us = holds.free_in(there, permits - free, now_us)
        return RuleOutcome(False, max(0, free), holds.reset_in(there, now_us), wait_us), state
    if permits == 0:
        return RuleOutcome(True, max(0, free), holds.reset_in(there, now_us), 0), state
    there.append(holds.Hold(holder, now_us + params.ttl_us, permits))
    return RuleOutcome(True, free - permits, holds.reset_in(there, now_us), 0), holds.write(there)


def release(state: str | None, params: Concurrency, now_us: int, holder: str) -> str | None:
    """The state without what this one holds."""
    return holds.write(holds.released(holds.read(state or "", now_us), holder)) or None


def renew(state: str | None, params: Concurrency, now_us: int, holder: str) -> str | None:
    """The state when this one holds on for another `ttl_us`; None: it holds nothing any more."""
    there = holds.renewed(holds.read(state or "", now_us), holder, now_us + params.ttl_us)
    return holds.write(there) if there else None
