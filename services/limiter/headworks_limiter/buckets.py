"""What a store of buckets can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.grants import Learned, Operation, Settled
from headworks_limiter.domain.reservations import Concluded, Ending
from headworks_limiter.domain.rule import Bucket
from headworks_limiter.domain.upstream import Feedback


class Buckets(Protocol):
    """A store of buckets that all replicas share."""

    async def decide(self, asks: Sequence[Ask], *, traceparent: str = "") -> Sequence[Verdict]:
        """Decide in this order, in one atomic step; all asks are of one cell."""

    async def reset(self, keys: Sequence[str]) -> int:
        """Make these buckets of one cell full again; how many were not."""

    async def settle(self, record: str, operation: Operation, permits: int, holder: str) -> Settled:
        """End, release or renew a grant, by the key of its record."""

    async def report(self, buckets: Sequence[Bucket], feedback: Feedback) -> Sequence[Learned]:
        """Let buckets of one cell know what an upstream said; what each made of it."""

    async def read(self, keys: Sequence[str]) -> tuple[int, Sequence[str | None]]:
        """The time, and what buckets of one cell hold then."""

    async def conclude(self, reserved: str, endings: Sequence[Ending]) -> Concluded:
        """End reservations of one cell, by the key of its list."""
