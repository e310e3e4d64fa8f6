"""Batches that fit: when to do how many of many items, by what the rules have now and will have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

from headworks_limiter.domain.algorithms import Params, Rate, take
from headworks_limiter.domain.circuit_breaker import CircuitBreaker
from headworks_limiter.domain.leaky_bucket import LeakyBucket

PLANNED = (*get_args(Rate), LeakyBucket)
HORIZON_US = 10 * 366 * 86_400_000_000
"""Ten years."""
SHARE = 4
"""A batch has at least this part of what ever fits, where nothing else is wanted."""


class Wanted(NamedTuple):
    """What shall be done."""

    items: int
    permits: int
    """An item costs."""
    most: int
    """Items in a batch."""
    least: int
    """Items in a batch, but the last; 0: a part of what ever fits."""
    batches: int
    """That are planned at most."""


class Batch(NamedTuple):
    """One that fits."""

    start_us: int
    """From now."""
    items: int


def plan(buckets: Sequence[tuple[str | None, Params]], wanted: Wanted, now_us: int) -> list[Batch]:
    """Batches in the order of time, each as early as it fits behind the others, if nobody else asks.

    Rules that count what is under way have no say: nobody knows when that ends. An open breaker is waited for, no more.
    An item fits into each bucket. Nothing is planned beyond HORIZON_US.
    """
    states = [state for state, params in buckets if isinstance(params, PLANNED)]
    rules = [params for _, params in buckets if isinstance(params, PLANNED)]
    opening = [take(state, 1, params, now_us)[0] for state, params in buckets if isinstance(params, CircuitBreaker)]
    fit = min([wanted.most, wanted.items, *(params.capacity // wanted.permits for params in rules)])
    least = min(fit, wanted.least or max(1, fit // SHARE))
    left, batches = wanted.items, list[Batch]()
    at_us = now_us + max((outcome.retry_after_us for outcome in opening), default=0)
    while left and len(batches) < wanted.batches and at_us - now_us <= HORIZON_US:
        free = [take(state, 0, params, at_us)[0].remaining for state, params in zip(states, rules, strict=True)]
        size = min([left, wanted.most, *(permits // wanted.permits for permits in free)])
        if size < min(least, left):
            at_us += _wait(states, rules, min(least, left) * wanted.permits, at_us)
            continue
        taken = [take(state, size * wanted.permits, each, at_us) for state, each in zip(states, rules, strict=True)]
        if not all(outcome.allowed for outcome, _ in taken):
            at_us += max(outcome.retry_after_us for outcome, _ in taken)
            continue
        states = [state for _, state in taken]
        batches.append(Batch(at_us - now_us, size))
        left -= size
    return batches


def _wait(states: Sequence[str | None], rules: Sequence[Params], permits: int, at_us: int) -> int:
    """How long until so many permits are there."""
    asked = (take(state, permits, params, at_us)[0] for state, params in zip(states, rules, strict=True))
    return max(1, *(outcome.retry_after_us for outcome in asked))
