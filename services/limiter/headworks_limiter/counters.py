"""What a limiter has decided, counted for its metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headworks_core.measures import SIZE_BOUNDS, Distribution, Labels, Tally

from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.rule_counts import RuleCounts


class DecisionCounters:
    """Since the start. Labels are names of the rules file."""

    def __init__(self) -> None:
        self.rules = RuleCounts()
        self.degraded = Tally()
        """Requests answered without the store, by namespace and what they were told."""
        self.unlimited = 0
        """Requests that no rule meets."""
        self.bypassed = 0
        """Requests that were allowed because the limiter is switched off."""
        self.let_through = Tally()
        """Requests that a bypass let through, by namespace and its name."""
        self.failures = 0
        """Script calls that failed."""
        self.sizes = Distribution(SIZE_BOUNDS)
        """Requests a script call."""

    def decided(self, verdicts: Sequence[Verdict]) -> None:
        """The store has answered a script call."""
        self.sizes.record(len(verdicts))
        for verdict in verdicts:
            self.rules.decided(verdict)
        self.rules.fold_if_many()

    def decided_here(self, verdict: Verdict) -> None:
        """One request was decided, by the store or by what it has said before."""
        self.rules.decided(verdict)

    def without_store(self, ask: Ask, outcome: str) -> None:
        """A request was answered by its rules' wish for a failing store: allowed, refused or error."""
        self.degraded[ask.buckets[0].rule.namespace, outcome] += 1

    def fold(self) -> None:
        """Keep the numbers of rules that may not be used any more by their names only."""
        self.rules.fold()

    def decisions(self) -> Iterable[tuple[Labels, float]]:
        """Requests by namespace and outcome; safe while another thread counts on."""
        return self.rules.outcomes().read()

    def refusals(self) -> Iterable[tuple[Labels, float]]:
        """How often each rule refused, by namespace and rule; safe while another thread counts on."""
        return self.rules.read(lambda count: count.refused)

    def shadow_refusals(self) -> Iterable[tuple[Labels, float]]:
        """How often each rule on trial would have refused, by namespace and rule; safe as above."""
        return self.rules.read(lambda count: count.shadow_refused)

    def near_limits(self) -> Iterable[tuple[Labels, float]]:
        """How often each rule allowed what left a fifth of its bucket or less, by namespace and rule; safe as above."""
        return self.rules.read(lambda count: count.near_limit)
