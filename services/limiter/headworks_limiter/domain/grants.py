"""Grants that may still be settled: what can be done to them, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import NamedTuple


class Operation(StrEnum):
    """What its holder wants. The words are those of settle.lua."""

    SETTLE = "settle"
    """It has cost so many permits; nothing is held any more."""
    RELEASE = "release"
    """Nothing is held any more; what was taken from rates stays taken."""
    RENEW = "renew"
    """Hold on."""


class Status(IntEnum):
    """What came of it. The numbers are those of settle.lua."""

    UNKNOWN = 0
    """No such grant, or not any more."""
    DONE = 1
    SETTLED = 2
    """It was settled before, at the cost that is told."""
    LATE = 3
    """It ended before; what it took stays taken."""
    NOT_HELD = 4
    """The grant was given for good."""
    LOST = 5
    """It ended before, and others may hold what it held."""


class Settled(NamedTuple):
    """What came of an operation."""

    status: Status
    permits: int
    """What the grant has cost."""
    ends_in_us: int
    """How long it may still be settled, or is held."""
    changed: int
    """Buckets that were written."""
    elsewhere: str = ""
    """The key of the grant's record in another cell."""

    def goes_on(self, operation: Operation, permits: int) -> bool:
        """Whether the same has to be done there: also again, for the first time may not have come so far."""
        again = self.status is Status.SETTLED and operation is Operation.SETTLE and self.permits == permits
        return again or self.status is Status.DONE

    def with_platform(self, other: Settled, operation: Operation) -> Settled:
        """What came of it when this came of it there: a hold is lost with any of its parts."""
        if operation is Operation.RENEW and other.status in (Status.LOST, Status.UNKNOWN):
            return other._replace(status=Status.LOST)
        ends_in_us = self.ends_in_us
        if other.status is Status.DONE and operation is Operation.RENEW:
            ends_in_us = min(ends_in_us, other.ends_in_us)
        return self._replace(ends_in_us=ends_in_us, changed=self.changed + other.changed)


class Reported(NamedTuple):
    """What a report has changed."""

    blocked_us: int
    """How long nothing will be granted to such requests; 0: not blocked."""
    rules: Sequence[str]
    """The names of the rules that have changed, in the order of the file."""


class Learned(NamedTuple):
    """What a bucket made of a report."""

    changed: bool
    blocked_us: int
    """How long it is blocked; 0: it is not."""
