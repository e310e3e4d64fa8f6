"""What a limiter has decided, counted for its metrics: per request one number, and one more per rule that refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from headworks_core.measures import SIZE_BOUNDS, Distribution, Labels, Tally

from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer
from headworks_limiter.domain.rule import Rule

OUTCOMES = {Answer.ALLOWED: "allowed", Answer.REPLAYED: "replayed", Answer.REFUSED: "refused"}
UNDECIDED = "undecided"  # a request id of another request, nothing to recall, a store that takes no writes


class DecisionCounters:
    """Since the start. Labels are names of the rules file."""

    def __init__(self) -> None:
        self._counts = _Counts(Tally(), Tally(), Tally())
        self.degraded = Tally()
        """Requests answered without the store, by namespace and what they were told."""
        self.unlimited = 0
        """Requests that no rule meets."""
        self.bypassed = 0
        """Requests that were allowed because the limiter is switched off."""
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
        decided, refused, on_trial = self._counts.decided, self._counts.refused, self._counts.on_trial
        decided[verdict.buckets[0].rule, verdict.answer] += 1
        if verdict.answer is Answer.REFUSED:
            for bucket, outcome in zip(verdict.buckets, verdict.outcomes, strict=True):
                if not (outcome.allowed or bucket.rule.shadow):
                    refused[bucket.rule] += 1
        for index in verdict.shadows:
            if not verdict.outcomes[index].allowed:
                on_trial[verdict.buckets[index].rule] += 1

    def without_store(self, ask: Ask, outcome: str) -> None:
        """A request was answered by its rules' wish for a failing store: allowed, refused or error."""
        self.degraded[ask.buckets[0].rule.namespace, outcome] += 1

    def fold(self) -> None:
        """Keep the numbers of rules that may not be used any more by their names only."""
        self._counts = _Counts(self._counts.decisions(), self._counts.refusals(), self._counts.shadow_refusals())

    def decisions(self) -> Iterable[tuple[Labels, float]]:
        """Requests by namespace and outcome; safe while another thread counts on."""
        return self._counts.decisions().read()

    def refusals(self) -> Iterable[tuple[Labels, float]]:
        """How often each rule refused, by namespace and rule; safe while another thread counts on."""
        return self._counts.refusals().read()

    def shadow_refusals(self) -> Iterable[tuple[Labels, float]]:
        """How often each rule on trial would have refused, by namespace and rule; safe as above."""
        return self._counts.shadow_refusals().read()


class _Counts:
    """Numbers by rule, on top of those by name that were there before."""

    def __init__(self, decisions: Tally, refusals: Tally, shadow_refusals: Tally) -> None:
        self.decided: defaultdict[tuple[Rule, Answer], int] = defaultdict(int)
        """Requests by the first rule that they meet."""
        self.refused: defaultdict[Rule, int] = defaultdict(int)
        self.on_trial: defaultdict[Rule, int] = defaultdict(int)
        self._decisions, self._refusals, self._shadow_refusals = decisions, refusals, shadow_refusals

    def decisions(self) -> Tally:
        """By namespace and outcome."""
        total = Tally(self._decisions)
        for (rule, answer), count in list(self.decided.items()):
            total[rule.namespace, OUTCOMES.get(answer, UNDECIDED)] += count
        return total

    def refusals(self) -> Tally:
        """By namespace and rule."""
        return _by_rule(self._refusals, self.refused)

    def shadow_refusals(self) -> Tally:
        """By namespace and rule."""
        return _by_rule(self._shadow_refusals, self.on_trial)


def _by_rule(before: Tally, counts: Mapping[Rule, int]) -> Tally:
    total = Tally(before)
    for rule, count in list(counts.items()):
        total[rule.namespace, rule.name] += count
    return total
