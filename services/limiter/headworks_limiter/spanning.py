"""Requests that meet rules of two cells: platform rules are reserved first, then the tenant's own rules decide.

Reserve, decide, confirm; the caller hears yes after the confirmation. docs/adr/0019-platform-rules.md says why nothing
is granted twice and nothing stays away, whoever fails when.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from headworks_core.context import CallContext
from headworks_core.errors import ResourceExhausted, ServiceError, Unavailable

from headworks_limiter.domain.ask import Ask, Platform, Verdict
from headworks_limiter.domain.decision import Answer, Mode, Terms
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.reservations import Conclusion, Ending
from headworks_limiter.domain.rule import PLATFORM, OnStoreFailure, record_key
from headworks_limiter.reservations import Reservations

STORE_FAILURES = (Unavailable, ResourceExhausted)
Outcome = Verdict | ServiceError
FINAL = {Answer.REUSED, Answer.UNRECORDED}
"""Answers of the platform's cell that leave nothing to decide."""


class Asks(Protocol):
    """Takes asks of one cell to the store, together with those of others."""

    def __call__(self, asks: Sequence[Ask], caller: CallContext, /) -> Awaitable[Sequence[Verdict]]:
        """Raises Unavailable or ResourceExhausted."""


@dataclass(slots=True)
class _Request:
    """One request on its way."""

    ask: Ask
    shared: Ask | None = None
    """Its part in the platform's cell."""
    own: Ask | None = None
    """Its part in the tenant's cell; None: it is decided without."""
    said: Verdict | None = None
    """What the platform's cell said; None: it could not."""
    instead: Verdict | None = None
    """What the platform rules wish while their cell cannot be asked."""
    outcome: Outcome | None = None

    @property
    def reserved(self) -> bool:
        """Whether there is something to end."""
        return bool(self.shared and self.shared.terms.reserve_us and self.said and self.said.allowed)


class Spanning:
    """Decides requests of one tenant, of which some meet platform rules in another cell."""

    def __init__(
        self,
        ask: Asks,
        without_store: Callable[[Ask], Verdict],
        reservations: Reservations,
        expired: type[ServiceError],
    ) -> None:
        """`without_store` raises Unavailable where that is its rules' wish; `expired` is raised for late callers."""
        self._ask = ask
        self._without_store = without_store
        self._reservations = reservations
        self._expired = expired
        self._nonce, self._numbers = secrets.token_hex(8), count()
        self._tasks: set[asyncio.Task[list[Outcome]]] = set()

    async def decide(self, asks: Sequence[Ask], caller: CallContext) -> list[Outcome]:
        """In their order, each all or nothing by itself. One whose caller goes away meanwhile is seen through."""
        task = asyncio.ensure_future(self._decide(asks, caller))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def look(self, ask: Ask, look: Callable[[Sequence[Ask]], Awaitable[Sequence[Verdict]]]) -> Verdict:
        """What both cells hold now, whatever the rules want done when one fails. Raises Unavailable."""
        assert ask.platform is not None
        request = _Request(ask, self._shared_part(ask, ask.platform))
        assert request.shared is not None
        request.said = (await look([request.shared]))[0]
        own = _part(ask, shared=False)
        return _whole(request, (await look([own]))[0] if own.buckets else None)

    async def close(self) -> None:
        """Waits until all are decided, and their reservations ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._reservations.close()

    async def _decide(self, asks: Sequence[Ask], caller: CallContext) -> list[Outcome]:
        requests = [_Request(ask) for ask in asks]
        await self._reserve([request for request in requests if request.ask.platform], caller)
        for request in requests:
            if request.outcome is None:
                self._prepare(request)
        answers = await self._ask_own([request.own for request in requests if request.own], caller)
        told = iter(answers)
        for request in requests:
            self._judge(request, next(told) if request.own else None)
        await self._end([request for request in requests if request.reserved])
        return [request.outcome for request in requests if request.outcome is not None]

    async def _reserve(self, requests: Sequence[_Request], caller: CallContext) -> None:
        """Ask the platform rules: one call a cell."""
        by_cell: dict[int, list[_Request]] = {}
        for request in requests:
            assert request.ask.platform is not None
            request.shared = self._shared_part(request.ask, request.ask.platform)
            by_cell.setdefault(request.shared.cell, []).append(request)

        async def reserve(those: Sequence[_Request]) -> None:
            try:
                said = await self._ask([request.shared for request in those if request.shared], caller)
            except self._expired as error:
                for request in those:
                    request.outcome = error
            except STORE_FAILURES:
                pass  # their rules say what now
            else:
                for request, verdict in zip(those, said, strict=True):
                    request.said = None if verdict.answer is Answer.UNSTORED else verdict

        await asyncio.gather(*map(reserve, by_cell.values()))

    def _shared_part(self, ask: Ask, where: Platform) -> Ask:
        part = _part(ask, shared=True)
        part.cell = where.cell
        if ask.mode is not Mode.TAKE or not (ask.record or len(part.buckets) < len(ask.buckets)):
            part.record = _moved(ask, where) if ask.record else ""
            return part  # it looks, or nobody else has to be asked
        ttl_us = self._reservations.ttl_us
        part.record = _moved(ask, where) if ask.record else ""
        if not part.record:
            part.record = record_key(where.prefix, PLATFORM, f"{self._nonce}-{next(self._numbers)}")
            part.fingerprint = "0"
        holder = part.record.rpartition(":")[2]
        part.terms = Terms(0, ask.terms.partial, holder, ask.terms.hold_us or ttl_us, ttl_us)
        return part

    def _prepare(self, request: _Request) -> None:
        """What the tenant's cell is asked, after what the platform's said."""
        ask, said = request.ask, request.said
        if not ask.platform:
            request.own = ask
            return
        assert request.shared is not None
        own = _part(ask, shared=False)
        if said is not None and said.answer in FINAL:
            request.outcome = _whole(request, Verdict(said.answer))
            return
        if said is None:
            own.mode = self._mode_without_platform(request)
            if request.outcome is not None:
                return
        elif not said.allowed:
            own.mode = Mode.COUNT if ask.mode is Mode.TAKE else ask.mode
            own.permits = 1 if ask.terms.partial else ask.permits
        elif ask.mode is Mode.TAKE:
            own.permits = said.permits
            if ask.terms.holder:
                own.terms = ask.terms._replace(elsewhere=request.shared.record)
        if own.buckets or own.record:
            request.own = own

    def _mode_without_platform(self, request: _Request) -> Mode:
        """Their cell cannot be asked: what they wish, and what the tenant's cell can still say."""
        assert request.shared is not None
        mode = request.ask.mode
        wish = request.shared.on_store_failure
        if mode is Mode.RECALL or wish in (OnStoreFailure.ERROR, OnStoreFailure.DENY):
            return mode if mode is Mode.RECALL else Mode.LOOK  # only to find a refusal that is certain
        request.instead = self._without_store(request.shared)
        if not request.instead.allowed:
            request.outcome = request.instead
        return mode

    async def _ask_own(self, asks: Sequence[Ask], caller: CallContext) -> Sequence[Verdict | ServiceError | None]:
        if not asks:
            return ()
        try:
            return [None if each.answer is Answer.UNSTORED else each for each in await self._ask(asks, caller)]
        except self._expired as error:
            return [error] * len(asks)
        except STORE_FAILURES:
            return [None] * len(asks)

    def _judge(self, request: _Request, told: Verdict | ServiceError | None) -> None:
        """Its outcome, if what it has reserved is confirmed."""
        if request.outcome is not None:
            return
        if not request.ask.platform:
            request.outcome = told if told is not None else self._wished(request.ask)
        elif request.own is None:
            request.outcome = self._alone(request)
        elif told is None:
            request.outcome = self._without_own(request)
        elif isinstance(told, ServiceError):
            request.outcome = told
        elif request.said is None and request.instead is None and told.allowed:
            assert request.shared is not None
            request.outcome = self._wished(request.shared)
        else:
            request.outcome = _whole(request, told)

    async def _end(self, requests: Sequence[_Request]) -> None:
        """End their reservations: one call a cell. Only confirmations are waited for."""
        by_place: dict[Platform, list[_Request]] = {}
        for request in requests:
            assert request.ask.platform is not None
            by_place.setdefault(request.ask.platform, []).append(request)
        ending = {where: self._reservations.end(where, list(map(_ending, those))) for where, those in by_place.items()}
        for where, those in by_place.items():
            granted = [_granted(request) for request in those]
            if any(granted):
                done = await self._done(ending[where], len(those))
                for request, wanted, stood in zip(those, granted, done, strict=True):
                    if wanted and not stood:
                        self._unconfirmed(request)

    async def _done(self, ended: asyncio.Future[Sequence[bool]], count: int) -> Sequence[bool]:
        try:
            return await ended
        except STORE_FAILURES:
            return [False] * count

    def _unconfirmed(self, request: _Request) -> None:
        """Nobody is told yes before: it is what its rules wish for a store that is away."""
        assert request.shared is not None
        outcome, wished = request.outcome, self._wished(request.shared)
        if isinstance(wished, Verdict) and wished.allowed and isinstance(outcome, Verdict):
            outcome.degraded = True
        else:
            request.outcome = wished

    def _alone(self, request: _Request) -> Outcome:
        """No rule of the tenant's own has a say."""
        if request.said is not None:
            return _whole(request, None)
        assert request.shared is not None
        return request.instead or self._wished(request.shared)

    def _without_own(self, request: _Request) -> Outcome:
        """The tenant's cell cannot be asked: a refusal that is certain, or what the rules wish."""
        assert request.own is not None
        if request.said is not None and request.said.answer is Answer.REFUSED:
            return _whole(request, None)
        undecided = request.said is None and request.instead is None
        wished = self._wished(request.own if request.own.buckets and not undecided else request.ask)
        if isinstance(wished, Verdict) and wished.allowed and request.said is not None:
            said = request.said
            return Verdict(Answer.ALLOWED, wished.permits, said.buckets, said.outcomes, True, said.shadows)
        return wished

    def _wished(self, ask: Ask) -> Outcome:
        try:
            return self._without_store(ask)
        except ServiceError as error:
            return error


def _part(ask: Ask, *, shared: bool) -> Ask:
    """The same request for its platform rules, or for the others."""
    indexes = [index for index, bucket in enumerate(ask.buckets) if bucket.rule.platform is shared]
    buckets = [ask.buckets[index] for index in indexes]
    shadows = [at for at, index in enumerate(indexes) if index in ask.shadows] if ask.shadows else ()
    return Ask(ask.cell, ask.mode, ask.permits, buckets, shadows, ask.record, ask.fingerprint, terms=ask.terms)


def _granted(request: _Request) -> bool:
    return isinstance(request.outcome, Verdict) and request.outcome.allowed


def _ending(request: _Request) -> Ending:
    """How its reservation ends."""
    assert request.shared is not None
    outcome, kept = request.outcome, bool(request.ask.record)
    if isinstance(outcome, Verdict) and outcome.allowed:
        return Ending(Conclusion.CONFIRM, request.shared.record, outcome.permits, kept)
    refused = isinstance(outcome, Verdict) and outcome.answer is Answer.REFUSED
    return Ending(Conclusion.REFUSE if refused else Conclusion.REFUND, request.shared.record, 0, kept)


def _moved(ask: Ask, where: Platform) -> str:
    """The key of the grant's record in the other cell."""
    return where.prefix + ask.record[ask.record.index("}") + 1 :]


def _whole(request: _Request, told: Verdict | None) -> Verdict:
    """What both cells have said, as one."""
    ask, said = request.ask, request.said
    # A grant that only the tenant's cell has recorded is none: what it had reserved was never confirmed.
    counts = told is not None and (said is None or said.allowed or told.answer is Answer.REUSED)
    decisive = told if counts else said
    assert decisive is not None
    # A recorded grant may be of more than could be reserved again.
    permits = min(decisive.permits, said.permits) if said is not None else decisive.permits
    verdict = Verdict(decisive.answer, permits, degraded=said is None, wait_us=decisive.wait_us)
    verdict.age_us = decisive.age_us
    if ask.terms.holder and verdict.allowed:
        verdict.grant_id, verdict.held_us = ask.terms.holder, max(0, ask.held_us - verdict.age_us)
    own = iter(told.outcomes if told is not None else ())
    shared = iter(_as_they_stand(said, verdict) if said is not None else ())
    met: list[tuple[int, RuleOutcome]] = []
    for index, bucket in enumerate(ask.buckets):
        outcome = next(shared if bucket.rule.platform else own, None)
        if outcome is not None:
            met.append((index, outcome))
    verdict.outcomes = [outcome for _, outcome in met]
    if len(met) == len(ask.buckets):
        verdict.buckets, verdict.shadows = ask.buckets, ask.shadows
    else:
        verdict.buckets = [ask.buckets[index] for index, _ in met]
        verdict.shadows = [at for at, (index, _) in enumerate(met) if index in ask.shadows]
    return verdict


def _as_they_stand(said: Verdict, verdict: Verdict) -> Sequence[RuleOutcome]:
    """What the platform rules have when the tenant's have refused: what was reserved comes back."""
    if verdict.answer is not Answer.REFUSED or said.answer is not Answer.ALLOWED or not said.permits:
        return said.outcomes
    return [
        outcome._replace(remaining=min(bucket.rule.params.capacity, outcome.remaining + said.permits))
        if outcome.allowed and not bucket.rule.count_denied
        else outcome
        for bucket, outcome in zip(said.buckets, said.outcomes, strict=True)
    ]
