"""Takes requests to the store, many at a time, and answers for it when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import structlog
from headworks_core.batching import MicroBatcher
from headworks_core.cells import cell_in
from headworks_core.context import CallContext
from headworks_core.errors import Reason, ResourceExhausted, ServiceError, Unavailable
from headworks_core.store import Moving
from headworks_core.telemetry import is_sampled

from headworks_limiter.buckets import Buckets
from headworks_limiter.bypass_log import BypassLog
from headworks_limiter.counters import DecisionCounters
from headworks_limiter.denials import Denials
from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer, Mode
from headworks_limiter.domain.grants import Learned, Operation, Reported, Settled, Status
from headworks_limiter.domain.rule import OnStoreFailure
from headworks_limiter.domain.upstream import Feedback
from headworks_limiter.lanes import Lanes
from headworks_limiter.reservations import Reservations
from headworks_limiter.spanning import Spanning
from headworks_limiter.store.breaker import Breaker, Breakers
from headworks_limiter.store.local import LocalBuckets

log = structlog.get_logger(__name__)

MAX_BUCKETS = 250
"""Buckets asked in one script call: a millisecond or two of the store's time, so that those in flight take no 50 ms."""
ENOUGH = 16
"""Buckets that one call asks for which are worth a script call, so that it need not wait for others."""
MAX_FLIGHTS = 4
"""Script calls under way at a time."""
RESERVATION_TTL_US = 2_000_000

STORE_FAILURES = (Unavailable, ResourceExhausted)
Outcome = Verdict | ServiceError
T = TypeVar("T")


class _Expired(Unavailable):
    """The caller's deadline passed before the store was asked; nothing was taken."""


@dataclass(slots=True)
class _Load:
    """What one call asks for: all of one cell."""

    asks: Sequence[Ask]
    caller: CallContext
    weight: int
    part: bool = False
    """Requests that span cells are counted as a whole, by who put them together."""


class Decider:
    """Decides requests; those of concurrent calls share script calls."""

    def __init__(
        self,
        shared: Buckets,
        local: LocalBuckets,
        breaker: Breaker | Breakers,
        *,
        enabled: bool = True,
        reservation_ttl_us: int = RESERVATION_TTL_US,
    ) -> None:
        """`enabled` is False to allow everything and ask nobody; reservations of platform rules end by themselves."""
        self._enabled = enabled
        self._shared = shared
        self._local = local
        self._breaker = breaker
        self.counters = DecisionCounters()
        self.clock = self._clock = asyncio.get_running_loop().time
        self.denials = Denials(self._clock)
        self._bypass_log = BypassLog(self._clock)
        self._batcher: Lanes[_Load, Sequence[Verdict]] = Lanes(
            lambda: MicroBatcher(
                self._flush,
                max_items=MAX_BUCKETS,
                max_flights=MAX_FLIGHTS,
                weigh=lambda load: load.weight,
                enough=ENOUGH,
            ),
            of=lambda load: breaker.of(load.asks[0].cell),
        )
        self.reservations = Reservations(shared, breaker, self._directly, ttl_us=reservation_ttl_us)
        self._spanning = Spanning(self._part, self._without_store, self.reservations, _Expired)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits until every request taken in has been answered."""
        await self._spanning.close()
        await self._batcher.__aexit__(kind, error, trace)

    @property
    def flights(self) -> int:
        """Script calls under way."""
        return self._batcher.flights

    @property
    def waiting(self) -> int:
        """Calls that wait for one."""
        return self._batcher.waiting

    async def decide(self, ask: Ask, caller: CallContext) -> Verdict:
        """Decide one request. Raises Unavailable if the store fails and its rules want an error."""
        if not (ask.buckets and self._enabled):
            return self._unlimited(ask)
        known = self._known(ask)
        if known is not None:
            return known
        if ask.platform is not None:
            (outcome,) = await self._decide_spanning((ask,), caller)
            if isinstance(outcome, ServiceError):
                raise outcome
            return outcome
        try:
            verdict = (await self._batcher(_Load((ask,), caller, len(ask.buckets))))[0]
        except _Expired:
            raise
        except STORE_FAILURES:
            return self._without_store(ask)
        if verdict.answer is Answer.UNSTORED:
            return self._without_store(ask)
        return verdict

    async def decide_all(self, asks: Sequence[Ask], caller: CallContext) -> list[Outcome]:
        """Decide requests of one cell in their order, each all or nothing by itself."""
        if not self._enabled:
            return [self._unlimited(ask) for ask in asks]
        outcomes: list[Outcome] = []
        for part in _parts(asks):
            outcomes += await self._decide_part(part, caller)
        return outcomes

    async def look(self, ask: Ask) -> Verdict:
        """What the store holds for a request now, whatever its rules want done when it fails. Raises Unavailable."""
        if ask.platform is not None:
            return await self._spanning.look(ask, self._shared.decide)
        return (await self._shared.decide([ask]))[0] if ask.buckets else Verdict(Answer.ALLOWED)

    async def settle(self, cell: int, record: str, operation: Operation, permits: int, holder: str) -> Settled:
        """End, release or renew a grant. Raises Unavailable: asking again does no harm."""
        if not self._enabled:
            return Settled(Status.DONE, permits, 0, 0)
        what = await self._directly(cell, lambda: self._shared.settle(record, operation, permits, holder))
        there = what.elsewhere
        if there and what.goes_on(operation, permits):
            settling = self._directly(cell_in(there), lambda: self._shared.settle(there, operation, permits, holder))
            what = what.with_platform(await settling, operation)
        if what.changed:
            self.denials.forget()  # permits came back
        return what

    async def report(self, ask: Ask, feedback: Feedback) -> Reported:
        """Let the rules that a request meets know what an upstream said. Raises Unavailable: the outcome is unknown."""
        buckets = [bucket for bucket in ask.buckets if bucket.rule.learns and not bucket.rule.shadow]
        if not (buckets and self._enabled):
            return Reported(0, ())
        told: dict[str, Learned] = {}
        for cell, part in _apart(buckets, lambda bucket: bucket.key).items():
            reporting = partial(self._shared.report, part, feedback)
            told.update(zip((bucket.key for bucket in part), await self._directly(cell, reporting), strict=True))
        learned = [told[bucket.key] for bucket in buckets]
        self.denials.forget()
        changed = [bucket.rule.name for bucket, what in zip(buckets, learned, strict=True) if what.changed]
        return Reported(max(what.blocked_us for what in learned), changed)

    async def read(self, cell: int, keys: Sequence[str]) -> tuple[int, Sequence[str | None]]:
        """The time, in us since the epoch, and what buckets of a cell hold then. Raises Unavailable."""
        if not (keys and self._enabled):
            return 0, [None] * len(keys)
        found: dict[str, str | None] = {}
        now_us = 0
        for place, part in _apart(keys, str).items():
            then_us, states = await self._directly(place, partial(self._shared.read, part))
            now_us = then_us if place == cell or not now_us else now_us  # the clock of the tenant's cell counts
            found.update(zip(part, states, strict=True))
        return now_us, [found[key] for key in keys]

    async def _directly(self, cell: int, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store without company."""
        breaker = self._breaker.of(cell)
        try:
            admitted_at = breaker.admit()
        except Unavailable as error:
            raise _away() from error
        try:
            result = await ask()
        except STORE_FAILURES as error:
            breaker.failed(admitted_at)
            self.counters.failures += 1
            log.warning("store.failed", error=error.message, held_back=breaker.open)
            raise _away() from error
        breaker.succeeded()
        return result

    async def reset(self, keys: Sequence[str]) -> int:
        """Make these buckets full again; how many were not. Raises Unavailable: the outcome is unknown."""
        try:
            return sum([await self._shared.reset(part) for part in _apart(keys, str).values()])
        finally:
            self.denials.forget()

    async def _decide_part(self, asks: Sequence[Ask], caller: CallContext) -> list[Outcome]:
        told = [self._known(ask) for ask in asks]
        limited = [ask for ask, known in zip(asks, told, strict=True) if ask.buckets and known is None]
        verdicts: Sequence[Verdict | None] = [None] * len(limited)
        if any(ask.platform is not None for ask in limited):
            outcomes = iter(await self._decide_spanning(limited, caller))
            return [
                known or (next(outcomes) if ask.buckets else self._unlimited(ask))
                for ask, known in zip(asks, told, strict=True)
            ]
        if limited:
            try:
                verdicts = await self._batcher(_Load(limited, caller, sum(len(ask.buckets) for ask in limited)))
            except _Expired as error:
                return [error if known is None else known for known in told]
            except STORE_FAILURES:
                pass  # each request's rules say what now
        answers = iter(verdicts)
        return [
            known or (self._outcome(ask, next(answers)) if ask.buckets else self._unlimited(ask))
            for ask, known in zip(asks, told, strict=True)
        ]

    async def _decide_spanning(self, asks: Sequence[Ask], caller: CallContext) -> list[Outcome]:
        """Requests of which some meet platform rules in another cell."""
        asked_at = self._clock()
        outcomes = await self._spanning.decide(asks, caller)
        for ask, outcome in zip(asks, outcomes, strict=True):
            if isinstance(outcome, Verdict) and outcome.outcomes and not outcome.degraded:
                self.counters.decided_here(outcome)
                if len(outcome.buckets) == len(ask.buckets):
                    self.denials.note((ask,), (outcome,), asked_at)
        self.counters.rules.fold_if_many()
        return outcomes

    def _part(self, asks: Sequence[Ask], caller: CallContext) -> asyncio.Future[Sequence[Verdict]]:
        """Some of what requests that span cells ask, all of one cell."""
        return self._batcher(_Load(asks, caller, sum(len(ask.buckets) for ask in asks), part=True))

    def _known(self, ask: Ask) -> Verdict | None:
        """A refusal that still holds."""
        known = self.denials.find(ask)
        if known is not None:
            self.counters.decided_here(known)
        return known

    def _outcome(self, ask: Ask, verdict: Verdict | None) -> Outcome:
        if verdict is not None and verdict.answer is not Answer.UNSTORED:
            return verdict
        try:
            return self._without_store(ask)
        except ServiceError as error:
            return error

    def _without_store(self, ask: Ask) -> Verdict:
        """What the strictest of its rules says now that the store cannot be asked."""
        if ask.mode is Mode.RECALL:
            return Verdict(Answer.UNRECORDED)  # more than its rules can hold is refused for certain
        wish = ask.on_store_failure
        if wish is OnStoreFailure.ERROR:
            self.counters.without_store(ask, "error")
            raise _away()
        verdict = self._wished(ask, wish)
        self.counters.without_store(ask, "allowed" if verdict.allowed else "refused")
        return verdict

    def _wished(self, ask: Ask, wish: OnStoreFailure) -> Verdict:
        if wish is OnStoreFailure.LOCAL:
            return self._local.decide(ask)
        if wish is OnStoreFailure.DENY:
            return Verdict(Answer.STORE_FAILURE, degraded=True)
        return Verdict(Answer.ALLOWED, ask.permits if ask.mode is Mode.TAKE else 0, degraded=True)

    def _unlimited(self, ask: Ask) -> Verdict:
        """No rule meets the request, or none is to be enforced, so it is allowed."""
        if not self._enabled:
            self.counters.bypassed += 1
        elif ask.bypass is not None:
            self.counters.let_through[ask.bypass.namespace, ask.bypass.name] += 1
            self._bypass_log.used(ask.bypass)
        else:
            self.counters.unlimited += 1
        return Verdict(Answer.ALLOWED, ask.permits if ask.mode is Mode.TAKE else 0)

    async def _flush(self, loads: list[_Load]) -> list[Sequence[Verdict] | Exception]:
        expired = _Expired("the caller's deadline has passed")
        outcomes: list[Sequence[Verdict] | Exception] = [expired] * len(loads)
        by_cell: dict[int, list[int]] = {}
        for index, load in enumerate(loads):
            if not load.caller.expired():
                by_cell.setdefault(load.asks[0].cell, []).append(index)
        calls = [self._ask_cell(loads, indexes, outcomes) for indexes in by_cell.values()]
        if len(calls) == 1:
            await calls[0]
        else:
            await asyncio.gather(*calls)
        return outcomes

    async def _ask_cell(
        self, loads: Sequence[_Load], indexes: Sequence[int], outcomes: list[Sequence[Verdict] | Exception]
    ) -> None:
        answers: Sequence[Sequence[Verdict] | Exception]
        try:
            answers = await self._ask([loads[index] for index in indexes])
        except ServiceError as error:
            answers = [error] * len(indexes)
        for index, answer in zip(indexes, answers, strict=True):
            outcomes[index] = answer

    async def _ask(self, loads: Sequence[_Load]) -> Sequence[Sequence[Verdict]]:
        """One script call. Its span's parent is the first call that is sampled."""
        breaker = self._breaker.of(loads[0].asks[0].cell)
        admitted_at = breaker.admit()
        traceparent = next(filter(is_sampled, (load.caller.traceparent for load in loads)), "")
        asks = [ask for load in loads for ask in load.asks]
        asked_at = self._clock()
        try:
            verdicts = await self._shared.decide(asks, traceparent=traceparent)
        except STORE_FAILURES as error:
            if isinstance(error, Moving):
                breaker.succeeded()  # it has answered, and other cells of the same server are well
            else:
                breaker.failed(admitted_at)
            self.counters.failures += 1
            log.warning("store.failed", error=error.message, held_back=breaker.open)
            raise
        breaker.succeeded()
        self._count(loads, asks, verdicts, asked_at)
        answers, first = [], 0
        for load in loads:
            answers.append(verdicts[first : first + len(load.asks)])
            first += len(load.asks)
        return answers

    def _count(self, loads: Sequence[_Load], asks: Sequence[Ask], verdicts: Sequence[Verdict], asked_at: float) -> None:
        if any(load.part for load in loads):
            self.counters.sizes.record(len(verdicts))
            counted = [not load.part for load in loads for _ in load.asks]
            for verdict, each in zip(verdicts, counted, strict=True):
                if each:
                    self.counters.decided_here(verdict)
            asks = [ask for ask, each in zip(asks, counted, strict=True) if each]
            verdicts = [verdict for verdict, each in zip(verdicts, counted, strict=True) if each]
        else:
            self.counters.decided(verdicts)
        self.denials.note(asks, verdicts, asked_at)


def _away() -> Unavailable:
    return Unavailable("the store cannot be asked", reason=Reason.STORE_UNAVAILABLE, retry_after_us=500_000)


def _apart(items: Iterable[T], key: Callable[[T], str]) -> dict[int, list[T]]:
    """By the cells of their keys."""
    by_cell: dict[int, list[T]] = {}
    for item in items:
        by_cell.setdefault(cell_in(key(item)), []).append(item)
    return by_cell


def _parts(asks: Sequence[Ask]) -> list[list[Ask]]:
    """The asks in parts of at most MAX_BUCKETS buckets, where one alone has no more."""
    parts: list[list[Ask]] = [[]]
    weight = 0
    for ask in asks:
        if parts[-1] and weight + len(ask.buckets) > MAX_BUCKETS:
            parts.append([])
            weight = 0
        parts[-1].append(ask)
        weight += len(ask.buckets)
    return parts
