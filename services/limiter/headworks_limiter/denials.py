"""Refusals that are certain to hold for a while, so that a caller who hammers a limit does not reach the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import PLAIN, Answer, Mode
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.rule import Bucket

LONGEST_US = 250_000
MAX_REMEMBERED = 10_000

Key = tuple[tuple[Bucket, ...], int]


class Denials:
    """The latest refusals, by buckets and permits.

    Nothing but time gives permits back, so a refusal holds until its `retry_after` whatever others do; it is kept for
    250 ms at most, for somebody may empty the store, and not beyond a grant from one of its buckets here, for then it
    would tell an old `remaining`. Requests with an id are always looked up, for they may have been
    granted before, and so are those that meet a rule on trial, which counts them.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._known: dict[Key, tuple[int, int, Verdict]] = {}
        """When it was told, until when it holds (microseconds of the clock), and what was said."""
        self._keys_of: dict[str, set[Key]] = {}
        """The refusals that each bucket has a part in, by its key."""
        self.answered = 0
        """Requests that were refused from here."""

    def forget(self) -> None:
        """Limits may have changed."""
        self._known.clear()
        self._keys_of.clear()

    def find(self, ask: Ask) -> Verdict | None:
        """What the store would say again."""
        if not self._known or ask.mode is not Mode.TAKE or ask.record or ask.terms is not PLAIN:
            return None
        known = self._known.get((tuple(ask.buckets), ask.permits))
        if known is None:
            return None
        told_us, until_us, verdict = known
        now_us = int(self._clock() * 1_000_000)
        if now_us >= until_us:
            return None
        self.answered += 1
        return Verdict(Answer.REFUSED, 0, verdict.buckets, _later(verdict.outcomes, now_us - told_us))

    def note(self, asks: Sequence[Ask], verdicts: Sequence[Verdict], asked_at: float) -> None:
        """The store has answered what it was asked at `asked_at` by the clock."""
        asked_us, told_us = int(asked_at * 1_000_000), int(self._clock() * 1_000_000)
        for ask, verdict in zip(asks, verdicts, strict=True):
            if verdict.permits and self._keys_of:
                self._forget_those_of(ask.buckets)
            elif verdict.answer is Answer.REFUSED and not (ask.record or verdict.shadows) and _certain(ask):
                longest_us = max(outcome.retry_after_us for outcome in verdict.outcomes)
                if len(self._known) >= MAX_REMEMBERED:
                    self.forget()
                # The store's now was between the two: so it never holds too long, and nobody is told to come too early.
                until_us = asked_us + min(longest_us, LONGEST_US)
                key = (tuple(ask.buckets), ask.permits)
                self._known[key] = (told_us, until_us, verdict)
                for bucket in ask.buckets:
                    self._keys_of.setdefault(bucket.key, set()).add(key)

    def _forget_those_of(self, buckets: Sequence[Bucket]) -> None:
        for bucket in buckets:
            for key in self._keys_of.pop(bucket.key, ()):
                self._known.pop(key, None)


def _certain(ask: Ask) -> bool:
    return ask.terms is PLAIN and all(bucket.rule.certain for bucket in ask.buckets)


def _later(outcomes: Sequence[RuleOutcome], passed_us: int) -> list[RuleOutcome]:
    return [
        RuleOutcome(
            outcome.allowed,
            outcome.remaining,
            max(0, outcome.reset_after_us - passed_us),
            max(1, outcome.retry_after_us - passed_us) if outcome.retry_after_us else 0,
        )
        for outcome in outcomes
    ]
