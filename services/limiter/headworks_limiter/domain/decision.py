"""All or nothing: one request against the buckets of all the rules it meets."""

from __future__ import annotations

from collections.abc import Container, Sequence
from enum import IntEnum

from headworks_limiter.domain.algorithms import Params, take
from headworks_limiter.domain.outcome import RuleOutcome


class Mode(IntEnum):
    """What may happen to the buckets. The numbers are those of decide.lua."""

    LOOK = 0
    TAKE = 1
    RECALL = 2
    """Only answer from the record of an earlier grant; more permits are asked for than a rule holds by now."""


class Answer(IntEnum):
    """What became of a request. The numbers are those of decide.lua."""

    REFUSED = 0
    ALLOWED = 1
    REPLAYED = 2
    """Granted by an earlier request with the same id; nothing was taken now."""
    REUSED = 3
    """Not decided: the id was used for another request."""
    UNRECORDED = 4
    """Not decided: nothing to recall."""
    UNSTORED = 5
    """Not decided: it would have been granted, but the store takes no writes."""
    STORE_FAILURE = 6
    """Refused because the store could not be asked."""


Decided = tuple[Answer, Sequence[RuleOutcome], Sequence[str | None]]
"""The answer, what each rule says, and the states afterwards."""


def decide(
    buckets: Sequence[tuple[str | None, Params]],
    permits: int,
    mode: Mode,
    now_us: int,
    shadows: Container[int] = (),
) -> Decided:
    """Take `permits` from every bucket, given as state and thresholds, or from none.

    Those whose indexes are in `shadows` are taken from where they allow it, and refuse nothing.

    Where nothing is taken (a look, a refusal) the outcomes say what each bucket holds as it stands. Same steps as
    `store/scripts/decide.lua`. `permits` is at least 1 and at most the capacity of each bucket.
    """
    taken = [take(state, permits, params, now_us) for state, params in buckets]
    allowed = all(outcome.allowed or index in shadows for index, (outcome, _) in enumerate(taken))
    if allowed and mode is Mode.TAKE:
        return Answer.ALLOWED, [outcome for outcome, _ in taken], [state for _, state in taken]
    outcomes = [
        take(state, 0, params, now_us)[0] if outcome.allowed else outcome
        for (outcome, _), (state, params) in zip(taken, buckets, strict=True)
    ]
    return Answer.ALLOWED if allowed else Answer.REFUSED, outcomes, [state for state, _ in buckets]


def governing(outcomes: Sequence[RuleOutcome]) -> int:
    """The index of the rule that decided: the longest wait if one has to wait, else the fewest permits left."""
    if len(outcomes) == 1:
        return 0
    waits = [outcome.retry_after_us for outcome in outcomes]
    longest = max(waits)
    if longest:
        return waits.index(longest)
    remaining = [outcome.remaining for outcome in outcomes]
    return remaining.index(min(remaining))
