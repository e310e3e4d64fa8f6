"""A request on its way to the store, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headworks_limiter.domain.decision import Answer, Mode
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.rule import Bucket, OnStoreFailure


@dataclass(slots=True)
class Ask:
    """One request: how many permits from which buckets, all of one cell."""

    cell: int
    mode: Mode
    permits: int
    buckets: Sequence[Bucket]
    record: str = ""
    """The key that its grant is recorded under; empty: it is not."""
    fingerprint: str = ""

    @property
    def on_store_failure(self) -> OnStoreFailure:
        """The strictest wish of its rules."""
        return max(bucket.rule.on_store_failure for bucket in self.buckets)


@dataclass(slots=True)
class Verdict:
    """What was decided, and what the rules of `buckets` say, in the same order."""

    answer: Answer
    permits: int = 0
    buckets: Sequence[Bucket] = ()
    outcomes: Sequence[RuleOutcome] = ()
    degraded: bool = False

    @property
    def allowed(self) -> bool:
        """Whether the permits may be, or were, taken."""
        return self.answer is Answer.ALLOWED or self.answer is Answer.REPLAYED
