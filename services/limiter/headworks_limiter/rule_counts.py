"""What each rule has said, counted: two additions a rule that a request meets, and one more where it refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from headworks_core.measures import Labels

from headworks_limiter.domain.ask import Verdict
from headworks_limiter.domain.decision import Answer
from headworks_limiter.domain.rule import Rule


@dataclass(slots=True)
class RuleCount:
    """Requests that met one rule."""

    requests: int = 0
    """That were decided, looks included."""
    refused: int = 0
    """By it."""
    near_limit: int = 0
    """After which at least 80 % of its bucket was used, and which it did not refuse."""
    shadow_refused: int = 0
    """That it would have refused, were it not on trial."""

    def add(self, other: RuleCount) -> None:
        """And those of another."""
        self.requests += other.requests
        self.refused += other.refused
        self.near_limit += other.near_limit
        self.shadow_refused += other.shadow_refused


class RuleCounts:
    """By rule while it is in use, and by its name for good."""

    def __init__(self) -> None:
        self._in_use: defaultdict[Rule, RuleCount] = defaultdict(RuleCount)
        self._before: Mapping[Labels, RuleCount] = {}

    def decided(self, verdict: Verdict) -> None:
        """One request was."""
        in_use = self._in_use
        for bucket, outcome in zip(verdict.buckets, verdict.outcomes, strict=True):
            rule = bucket.rule
            count = in_use[rule]
            count.requests += 1
            if outcome[1] <= rule.near and outcome[0]:
                count.near_limit += 1
        if verdict.answer is Answer.REFUSED:
            for bucket, outcome in zip(verdict.buckets, verdict.outcomes, strict=True):
                if not (outcome[0] or bucket.rule.shadow):
                    in_use[bucket.rule].refused += 1
        for index in verdict.shadows:
            if not verdict.outcomes[index].allowed:
                in_use[verdict.buckets[index].rule].shadow_refused += 1

    def fold(self) -> None:
        """Keep the numbers of rules that may not be used any more by their names only."""
        self._before, self._in_use = self.by_name(), defaultdict(RuleCount)

    def by_name(self) -> dict[Labels, RuleCount]:
        """By namespace and rule; safe while another thread counts on."""
        total: defaultdict[Labels, RuleCount] = defaultdict(RuleCount)
        for labels, count in self._before.items():
            total[labels].add(count)
        for rule, count in list(self._in_use.items()):
            total[rule.namespace, rule.name].add(count)
        return dict(total)

    def read(self, number: Callable[[RuleCount], int]) -> Iterator[tuple[Labels, float]]:
        """One number of every rule for which it is not 0."""
        for labels, count in self.by_name().items():
            if value := number(count):
                yield labels, value

    def decisions(self) -> Iterator[tuple[Labels, float]]:
        """By namespace, rule and what it said."""
        for (namespace, rule), count in self.by_name().items():
            refused = count.refused + count.shadow_refused
            yield (namespace, rule, "refused"), refused
            yield (namespace, rule, "allowed"), count.requests - refused
