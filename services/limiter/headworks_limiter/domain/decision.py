"""All or nothing: one request against the buckets of all the rules it meets."""

from __future__ import annotations

from collections.abc import Container, Sequence
from enum import IntEnum
from typing import NamedTuple

from headworks_limiter.domain.algorithms import QUEUES, Params, book, earliest, take
from headworks_limiter.domain.outcome import RuleOutcome

MAX_ROUNDS = 64
"""Tries to find one time that suits all rules."""


class Mode(IntEnum):
    """What may happen to the buckets. The numbers are those of decide.lua."""

    LOOK = 0
    TAKE = 1
    RECALL = 2
    """Only answer from the record of an earlier grant; more permits are asked for than a rule holds by now."""
    COUNT = 3
    """It is refused by rules of another cell: answer from the record of an earlier grant, or refuse it here too."""


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


class Terms(NamedTuple):
    """On what terms permits are wanted."""

    wait_us: int = 0
    """How long after now the permits may begin at the latest."""
    partial: bool = False
    """Fewer permits are better than none."""
    holder: str = ""
    """The grant's id, for what is held."""
    hold_us: int = 0
    """How long the grant may be settled."""
    reserve_us: int = 0
    """When what is taken ends by itself, unless it is confirmed before; 0: it was taken for good."""
    elsewhere: str = ""
    """The key of the grant's record in another cell."""


PLAIN = Terms()

State = tuple[str | None, Params]
"""A bucket's state and its rule's thresholds."""


class Decided(NamedTuple):
    """What became of a request."""

    answer: Answer
    outcomes: Sequence[RuleOutcome]
    states: Sequence[str | None]
    """Of all buckets, afterwards."""
    permits: int = 0
    """That were taken."""
    wait_us: int = 0
    """How long from now they begin."""


def decide(
    buckets: Sequence[State],
    permits: int,
    mode: Mode,
    now_us: int,
    shadows: Container[int] = (),
    terms: Terms = PLAIN,
    counting: Container[int] = (),
) -> Decided:
    """Take `permits` from every bucket, given as state and thresholds, or from none.

    Those whose indexes are in `shadows` are taken from where they allow it, and refuse nothing. Those in `counting`
    are taken from by refused requests too: as much as was wanted, or is left.

    Where nothing is taken (a look, a refusal) the outcomes say what each bucket holds as it stands. Same steps as
    `store/scripts/decide.lua`. `permits` is at least 1 and at most the capacity of each bucket.
    """
    taken = [take(state, permits, params, now_us, terms.holder) for state, params in buckets]
    before = [state for state, _ in buckets]
    if all(outcome.allowed or index in shadows for index, (outcome, _) in enumerate(taken)):
        if mode is Mode.TAKE:
            return Decided(Answer.ALLOWED, [outcome for outcome, _ in taken], [state for _, state in taken], permits)
        if mode is not Mode.COUNT:
            return Decided(Answer.ALLOWED, _as_they_stand(buckets, taken, now_us), before)
    start_us = _start(buckets, permits, now_us, shadows, terms.wait_us) if mode is not Mode.COUNT else None
    if start_us is not None:
        return _booked(buckets, permits, mode, now_us, shadows, start_us, taken)
    outcomes = _as_they_stand(buckets, taken, now_us)
    if terms.partial and permits > 1 and mode is not Mode.COUNT:
        left = min(
            take(state, 0, params, now_us)[0].remaining
            for index, (state, params) in enumerate(buckets)
            if index not in shadows
        )
        fewer = max(1, min(left, permits))  # where nothing is left, what is told is how long until there is
        terms = terms._replace(wait_us=0, partial=False)
        return decide(buckets, fewer, mode, now_us, shadows, terms, counting)
    if mode is not Mode.TAKE and mode is not Mode.COUNT:
        return Decided(Answer.REFUSED, outcomes, before)
    states = list(before)
    for index, (state, params) in enumerate(buckets):
        wanted = min(permits, take(state, 0, params, now_us)[0].remaining) if index in counting else 0
        if wanted:
            states[index] = take(state, wanted, params, now_us, terms.holder)[1]
            asked = 0 if outcomes[index].allowed else permits
            outcomes[index] = take(states[index], asked, params, now_us, terms.holder)[0]
    return Decided(Answer.REFUSED, outcomes, states)


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


def _as_they_stand(
    buckets: Sequence[State], taken: Sequence[tuple[RuleOutcome, str | None]], now_us: int
) -> list[RuleOutcome]:
    """What is told when nothing was taken after all."""
    return [
        take(state, 0, params, now_us)[0] if outcome.allowed else outcome
        for (outcome, _), (state, params) in zip(taken, buckets, strict=True)
    ]


def _start(buckets: Sequence[State], permits: int, now_us: int, shadows: Container[int], wait_us: int) -> int | None:
    """The first time that suits all rules, not after the longest wait; None: there is none.

    Queues make wait until it is their turn without being asked to.
    """
    asked = [each for index, each in enumerate(buckets) if index not in shadows]
    longest_us = wait_us
    for state, params in asked:
        if isinstance(params, QUEUES):
            turn_us = earliest(state, permits, params, now_us, now_us)
            longest_us = max(longest_us, (turn_us or now_us) - now_us)
    if longest_us <= 0:
        return None
    start_us = now_us
    for _ in range(MAX_ROUNDS):
        settled_us = start_us
        for state, params in asked:
            next_us = earliest(state, permits, params, start_us, now_us)
            if next_us is None or next_us - now_us > longest_us:
                return None
            start_us = next_us
        if start_us == settled_us:
            return start_us
    return None


def _booked(
    buckets: Sequence[State],
    permits: int,
    mode: Mode,
    now_us: int,
    shadows: Container[int],
    start_us: int,
    taken: Sequence[tuple[RuleOutcome, str | None]],
) -> Decided:
    after = []
    for index, (state, params) in enumerate(buckets):
        if mode is not Mode.TAKE:
            after.append(state)
        elif index in shadows:
            after.append(taken[index][1] if taken[index][0].allowed else state)
        else:
            after.append(book(state, permits, params, start_us, now_us))
    outcomes = [
        taken[index][0] if index in shadows and not taken[index][0].allowed else take(state, 0, params, now_us)[0]
        for index, (state, (_, params)) in enumerate(zip(after, buckets, strict=True))
    ]
    return Decided(Answer.ALLOWED, outcomes, after, permits if mode is Mode.TAKE else 0, start_us - now_us)
