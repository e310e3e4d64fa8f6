"""Traffic against rules, by the very functions that the limiter's script is held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from headworks.limiter.v1 import limiter_pb2
from headworks_core.cells import Meta
from headworks_core.errors import ServiceError
from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Mode
from headworks_limiter.requests import RequestReader
from headworks_limiter.rules import Rules
from headworks_limiter.store.memory import MemoryBuckets

from headworks_devkit.simulation.arrivals import SECOND_US, Arrival


@dataclass(slots=True)
class Replay:
    """What became of the requests."""

    allowed: int = 0
    refused: int = 0
    permits: int = 0
    """Granted."""
    refused_by: Counter[str] = field(default_factory=Counter)
    """Requests by each rule that refused them; several may have."""
    errors: Counter[str] = field(default_factory=Counter)
    """Requests that are no good, by message."""
    unlimited: int = 0
    """Of those allowed: no rule met them."""
    let_through: int = 0
    """Of those allowed: a bypass did."""
    times: list[tuple[int, bool]] = field(default_factory=list)
    """When each was made, in microseconds since the epoch, and whether it was allowed."""
    first_refusal_us: int | None = None
    buckets: int = 0


def replay(rules: Rules, arrivals: Iterable[Arrival]) -> Replay:
    """Ask for each in turn."""
    now_us = 0
    reader = RequestReader(rules, Meta(events=""), now_s=lambda: now_us / SECOND_US)
    buckets, told = MemoryBuckets(), Replay()
    for arrival in arrivals:
        now_us = arrival.at_us
        request = limiter_pb2.PermitRequest(
            namespace=arrival.namespace, descriptors=arrival.descriptors, permits=arrival.permits
        )
        try:
            ask = reader.ask(request, arrival.tenant, Mode.TAKE)
        except ServiceError as error:
            told.errors[error.message] += 1
            continue
        if ask.buckets:
            _note(told, arrival, ask, buckets.decide_at(ask, arrival.at_us))
        else:
            told.unlimited += ask.bypass is None
            told.let_through += ask.bypass is not None
            _allow(told, arrival, ask.permits)
    told.buckets = len(buckets)
    return told


def _note(told: Replay, arrival: Arrival, ask: Ask, verdict: Verdict) -> None:
    if verdict.allowed:
        _allow(told, arrival, ask.permits)
        return
    told.refused += 1
    told.times.append((arrival.at_us, False))
    if told.first_refusal_us is None:
        told.first_refusal_us = arrival.at_us
    for bucket, outcome in zip(verdict.buckets, verdict.outcomes, strict=True):
        if not outcome.allowed:
            told.refused_by[bucket.rule.name] += 1


def _allow(told: Replay, arrival: Arrival, permits: int) -> None:
    told.allowed += 1
    told.permits += permits
    told.times.append((arrival.at_us, True))
