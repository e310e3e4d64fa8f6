"""What each rule has said, counted: one addition a request for all the rules that it meets, and one more for each that
refused or is nearly used up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from headworks_core.measures import Labels, Tally

from headworks_limiter.domain.ask import Verdict
from headworks_limiter.domain.decision import Answer
from headworks_limiter.domain.met import RuleGroup, group_of
from headworks_limiter.domain.rule import Rule

OUTCOMES = {Answer.ALLOWED: "allowed", Answer.REPLAYED: "replayed", Answer.REFUSED: "refused"}
UNDECIDED = "undecided"  # a request id of another request, nothing to recall, a store that takes no writes
MAX_GROUPS = 4_096
"""Groups that are counted apart; callers choose what they are, so their number is not the file's alone."""


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
        self._outcomes = Tally()
        self._rules: Mapping[Labels, RuleCount] = {}
        self._begin()

    def _begin(self) -> None:
        self._decided: defaultdict[tuple[RuleGroup, Answer], int] = defaultdict(int)
        self._notable: defaultdict[Rule, RuleCount] = defaultdict(RuleCount)
        """All but `requests`."""

    def decided(self, verdict: Verdict) -> None:
        """One request was."""
        buckets, outcomes, answer = verdict.buckets, verdict.outcomes, verdict.answer
        group = group_of(buckets)
        self._decided[group, answer] += 1
        for index, near in enumerate(group.nears):
            outcome = outcomes[index]
            if outcome[1] <= near and outcome[0]:
                self._notable[group.rules[index]].near_limit += 1
        if answer is Answer.REFUSED:
            for rule, outcome in zip(group.rules, outcomes, strict=True):
                if not (outcome[0] or rule.shadow):
                    self._notable[rule].refused += 1
        for index in verdict.shadows:
            if not outcomes[index].allowed:
                self._notable[group.rules[index]].shadow_refused += 1

    def fold(self) -> None:
        """Keep the numbers of rules that may not be used any more by their names only."""
        self._rules, self._outcomes = self.by_name(), self.outcomes()
        self._begin()

    def fold_if_many(self) -> None:
        """Keep what is counted apart within bounds."""
        if len(self._decided) > MAX_GROUPS:
            self.fold()

    def outcomes(self) -> Tally:
        """Requests by namespace and outcome; safe while another thread counts on."""
        total = Tally(self._outcomes)
        for (group, answer), count in list(self._decided.items()):
            total[group.rules[0].namespace, OUTCOMES.get(answer, UNDECIDED)] += count
        return total

    def by_name(self) -> dict[Labels, RuleCount]:
        """By namespace and rule; safe while another thread counts on."""
        total: defaultdict[Labels, RuleCount] = defaultdict(RuleCount)
        for labels, count in self._rules.items():
            total[labels].add(count)
        for (group, _), requests in list(self._decided.items()):
            for rule in group.rules:
                total[rule.namespace, rule.name].requests += requests
        for rule, count in list(self._notable.items()):
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
