"""Traffic against rules, by the very functions that the limiter's script is held against."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from headworks.limiter.v1.limiter_pb2 import PermitRequest
from headworks_core.cells import Meta
from headworks_core.errors import ServiceError
from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Mode
from headworks_limiter.domain.grants import Operation
from headworks_limiter.domain.upstream import Feedback, Kind
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
    waited: int = 0
    """Of those allowed: they begin later than they were made."""
    longest_wait_us: int = 0
    times: list[tuple[int, bool]] = field(default_factory=list)
    """When each was made, in microseconds since the epoch, or where it waits when it begins; whether it was allowed."""
    first_refusal_us: int | None = None
    buckets: int = 0
    """That were taken from."""

    def allow(self, at_us: int, permits: int, wait_us: int = 0) -> None:
        """One more."""
        self.allowed += 1
        self.permits += permits
        self.waited += wait_us > 0
        self.longest_wait_us = max(self.longest_wait_us, wait_us)
        self.times.append((at_us + wait_us, True))


class Upstream(NamedTuple):
    """What becomes of requests that were allowed, where rules count those under way or learn from answers."""

    hold_us: int = 0
    """How long each is under way; then it is answered, and what it holds is given back."""
    outage: tuple[int, int] = (0, 0)
    """From when until when answers are failures, in microseconds since the epoch."""


class _Ending(NamedTuple):
    """A request that is under way."""

    at_us: int
    number: int
    ask: Ask


def replay(
    rules: Rules, arrivals: Iterable[Arrival], *, max_wait_us: int = 0, upstream: Upstream | None = None
) -> Replay:
    """Ask for each in turn; with `max_wait_us` what may not begin at once is promised for later, if it can be.

    Without an `upstream` nothing is reported, and what is held ends by its `ttl`.
    """
    return _Replaying(rules, max_wait_us, upstream).replay(arrivals)


class _Replaying:
    def __init__(self, rules: Rules, max_wait_us: int, upstream: Upstream | None) -> None:
        self._now_us = 0
        self._reader = RequestReader(rules, Meta(events=""), now_s=lambda: self._now_us / SECOND_US)
        self._buckets, self._told = MemoryBuckets(), Replay()
        self._max_wait_us, self._upstream = max_wait_us, upstream
        self._under_way: list[_Ending] = []
        self._met: set[str] = set()

    def replay(self, arrivals: Iterable[Arrival]) -> Replay:
        told = self._told
        for number, arrival in enumerate(arrivals):
            self._end_until(arrival.at_us)
            self._now_us = arrival.at_us
            try:
                ask = self._reader.ask(self._request(arrival), arrival.tenant, Mode.TAKE)
            except ServiceError as error:
                told.errors[error.message] += 1
                continue
            if not ask.buckets:
                told.unlimited += ask.bypass is None
                told.let_through += ask.bypass is not None
                told.allow(arrival.at_us, ask.permits)
                continue
            verdict = self._buckets.decide_at(ask, arrival.at_us)
            self._note(arrival, verdict)
            if verdict.allowed and self._upstream is not None:
                ends_us = arrival.at_us + verdict.wait_us + self._upstream.hold_us
                heapq.heappush(self._under_way, _Ending(ends_us, number, ask))
        told.times.sort(key=itemgetter(0))
        told.buckets = len(self._met)
        return told

    def _request(self, arrival: Arrival) -> PermitRequest:
        request = PermitRequest(namespace=arrival.namespace, descriptors=arrival.descriptors, permits=arrival.permits)
        if self._max_wait_us:
            request.max_wait.FromMicroseconds(self._max_wait_us)
        return request

    def _note(self, arrival: Arrival, verdict: Verdict) -> None:
        told = self._told
        if verdict.allowed:
            self._met.update(bucket.key for bucket in verdict.buckets)
            told.allow(arrival.at_us, verdict.permits, verdict.wait_us)
            return
        told.refused += 1
        told.times.append((arrival.at_us, False))
        if told.first_refusal_us is None:
            told.first_refusal_us = arrival.at_us
        for bucket, outcome in zip(verdict.buckets, verdict.outcomes, strict=True):
            if not outcome.allowed:
                told.refused_by[bucket.rule.name] += 1

    def _end_until(self, at_us: int) -> None:
        """Answer what was under way and has ended by then."""
        while self._under_way and self._under_way[0].at_us <= at_us:
            ended_us, _, ask = heapq.heappop(self._under_way)
            assert self._upstream is not None
            begins_us, ends_us = self._upstream.outage
            kind = Kind.FAILURE if begins_us <= ended_us < ends_us else Kind.OK
            feedback = Feedback(kind, 0, None, None, None, self._upstream.hold_us)
            learning = [bucket for bucket in ask.buckets if bucket.rule.learns and not bucket.rule.shadow]
            self._buckets.report_at(learning, feedback, ended_us)
            if ask.terms.holder:
                self._buckets.settle_at(ask.record, Operation.RELEASE, 0, ask.terms.holder, ended_us)
