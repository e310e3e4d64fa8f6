"""What a limiter has decided, counted for its metrics: per request one number, and one more per rule that refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from headworks_core.measures import SIZE_BOUNDS, Distribution, Labels, Tally

from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer
from headworks_limiter.domain.rule import Rule

OUTCOMES = {Answer.ALLOWED: "allowed", Answer.REPLAYED: "replayed", Answer.REFUSED: "refused"}
UNDECIDED = "undecided"  # a request id of another request, nothing to recall, a store that takes no writes


class DecisionCounters:
    """Since the start. Labels are names of the rules file."""

    def __init__(self) -> None:
        self._decided: defaultdict[tuple[Rule, Answer], int] = defaultdict(int)
        """Requests by the first rule that they meet."""
        self._refused: defaultdict[Rule, int] = defaultdict(int)
        self.degraded = Tally()
        """Requests answered without the store, by namespace and what they were told."""
        self.unlimited = 0
        """Requests that no rule meets."""
        self.failures = 0
        """Script calls that failed."""
        self.sizes = Distribution(SIZE_BOUNDS)
        """Requests a script call."""

    def decided(self, verdicts: Sequence[Verdict]) -> None:
        """The store has answered a script call."""
        self.sizes.record(len(verdicts))
        decided = self._decided
        for verdict in verdicts:
            decided[verdict.buckets[0].rule, verdict.answer] += 1
            if verdict.answer is Answer.REFUSED:
                for bucket, outcome in zip(verdict.buckets, verdict.outcomes, strict=True):
                    if not outcome.allowed:
                        self._refused[bucket.rule] += 1

    def without_store(self, ask: Ask, outcome: str) -> None:
        """A request was answered by its rules' wish for a failing store: allowed, refused or error."""
        self.degraded[ask.buckets[0].rule.namespace, outcome] += 1

    def decisions(self) -> Iterable[tuple[Labels, float]]:
        """Requests by namespace and outcome."""
        total = Tally()
        for (rule, answer), count in list(self._decided.items()):
            total[rule.namespace, OUTCOMES.get(answer, UNDECIDED)] += count
        return total.read()

    def refusals(self) -> Iterable[tuple[Labels, float]]:
        """How often each rule refused, by namespace and rule."""
        total = Tally()
        for rule, count in list(self._refused.items()):
            total[rule.namespace, rule.name] += count
        return total.read()
