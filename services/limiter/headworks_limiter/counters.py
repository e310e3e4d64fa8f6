"""What a limiter has decided, counted for its metrics: per request one number, and what `rule_counts` says per rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from headworks_core.measures import SIZE_BOUNDS, Distribution, Labels, Tally

from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer
from headworks_limiter.domain.rule import Rule
from headworks_limiter.rule_counts import RuleCounts

OUTCOMES = {Answer.ALLOWED: "allowed", Answer.REPLAYED: "replayed", Answer.REFUSED: "refused"}
UNDECIDED = "undecided"  # a request id of another request, nothing to recall, a store that takes no writes


class DecisionCounters:
    """Since the start. Labels are names of the rules file."""

    def __init__(self) -> None:
        self._decided: defaultdict[tuple[Rule, Answer], int] = defaultdict(int)
        """Requests by the first rule that they meet."""
        self._decided_before = Tally()
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
            self.decided_here(verdict)

    def decided_here(self, verdict: Verdict) -> None:
        """One request was decided, by the store or by what it has said before."""
        self._decided[verdict.buckets[0].rule, verdict.answer] += 1
        self.rules.decided(verdict)

    def without_store(self, ask: Ask, outcome: str) -> None:
        """A request was answered by its rules' wish for a failing store: allowed, refused or error."""
        self.degraded[ask.buckets[0].rule.namespace, outcome] += 1

    def fold(self) -> None:
        """Keep the numbers of rules that may not be used any more by their names only."""
        self._decided_before, self._decided = self._decisions(), defaultdict(int)
        self.rules.fold()

    def decisions(self) -> Iterable[tuple[Labels, float]]:
        """Requests by namespace and outcome; safe while another thread counts on."""
        return self._decisions().read()

    def refusals(self) -> Iterable[tuple[Labels, float]]:
        """How often each rule refused, by namespace and rule; safe while another thread counts on."""
        return self.rules.read(lambda count: count.refused)

    def shadow_refusals(self) -> Iterable[tuple[Labels, float]]:
        """How often each rule on trial would have refused, by namespace and rule; safe as above."""
        return self.rules.read(lambda count: count.shadow_refused)

    def near_limits(self) -> Iterable[tuple[Labels, float]]:
        """How often each rule allowed what left a fifth of its bucket or less, by namespace and rule; safe as above."""
        return self.rules.read(lambda count: count.near_limit)

    def _decisions(self) -> Tally:
        total = Tally(self._decided_before)
        for (rule, answer), count in list(self._decided.items()):
            total[rule.namespace, OUTCOMES.get(answer, UNDECIDED)] += count
        return total
