"""A request on its way to the store, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headworks_limiter.domain.algorithms import HELD
from headworks_limiter.domain.bypass import Bypass
from headworks_limiter.domain.decision import PLAIN, Answer, Mode, Terms, governing
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.rule import Bucket, OnStoreFailure


class Platform(NamedTuple):
    """A cell in which rules of the platform have their buckets."""

    cell: int
    prefix: str
    """What its keys begin with."""


@dataclass(slots=True)
class Ask:
    """One request: how many permits from which buckets, all of one cell, but for those of `platform`."""

    cell: int
    mode: Mode
    permits: int
    buckets: Sequence[Bucket]
    shadows: Sequence[int] = ()
    """The indexes of the buckets whose rules refuse nothing."""
    record: str = ""
    """The key that its grant is recorded under; empty: it is not."""
    fingerprint: str = ""
    bypass: Bypass | None = None
    """What lets it through without asking any bucket."""
    terms: Terms = PLAIN
    platform: Platform | None = None
    """Where the buckets of its platform rules are; None: it has none, or in its own cell."""

    @property
    def counting(self) -> list[int]:
        """The indexes of the buckets whose rules count what they refuse."""
        return [index for index, bucket in enumerate(self.buckets) if bucket.rule.count_denied]

    @property
    def held_us(self) -> int:
        """How long a grant holds what it holds at least, unless it is renewed."""
        ttls = [bucket.rule.params.ttl_us for bucket in self.buckets if isinstance(bucket.rule.params, HELD)]
        return min(ttls, default=self.terms.hold_us)

    @property
    def on_store_failure(self) -> OnStoreFailure:
        """The strictest wish of its rules, as far as they refuse anything."""
        wishes = (bucket.rule.on_store_failure for bucket in self.buckets if not bucket.rule.shadow)
        return max(wishes, default=OnStoreFailure.ALLOW)


@dataclass(slots=True)
class Verdict:
    """What was decided, and what the rules of `buckets` say, in the same order."""

    answer: Answer
    permits: int = 0
    buckets: Sequence[Bucket] = ()
    outcomes: Sequence[RuleOutcome] = ()
    degraded: bool = False
    shadows: Sequence[int] = ()
    """The indexes of the buckets whose rules refuse nothing."""
    wait_us: int = 0
    """How long from now the permits begin."""
    age_us: int = 0
    """How long ago the permits began, for a held grant that is told again."""
    grant_id: str = ""
    """What the grant is called, if it may be settled."""
    held_us: int = 0
    """How long it holds what it holds, unless it is renewed."""

    @property
    def allowed(self) -> bool:
        """Whether the permits may be, or were, taken."""
        return self.answer is Answer.ALLOWED or self.answer is Answer.REPLAYED

    @property
    def governing(self) -> int | None:
        """The index of the rule that decided; None where none could."""
        if not self.shadows:
            return governing(self.outcomes) if self.outcomes else None
        deciding = [index for index in range(len(self.outcomes)) if index not in self.shadows]
        return deciding[governing([self.outcomes[index] for index in deciding])] if deciding else None
