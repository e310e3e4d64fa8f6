"""Buckets in this process: for a single limiter without Redis, and for whoever wants to try rules out."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headworks_limiter.domain.algorithms import HELD, blocked_until, release, renew, report, settle
from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.circuit_breaker import CircuitBreaker
from headworks_limiter.domain.decision import Answer, Decided, Mode, State, decide
from headworks_limiter.domain.grants import Learned, Operation, Settled, Status
from headworks_limiter.domain.reservations import Concluded, Conclusion, Ending
from headworks_limiter.domain.rule import Bucket
from headworks_limiter.domain.upstream import Feedback

RECORD_US = 600_000_000
KEPT_US = 60_000_000
MAX_GRANTS = 100_000
MAX_STATES = 1_000_000


def wall_clock_us() -> int:
    """This machine's clock, in microseconds since the epoch."""
    return time.time_ns() // 1000


class States:
    """States by key; the one that was used least recently is forgotten when there are too many."""

    def __init__(self, max_states: int) -> None:
        self._max_states = max_states
        self._states: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def get(self, key: str) -> str | None:
        """The state; None: unused, or forgotten."""
        return self._states.get(key)

    def drop(self, key: str) -> bool:
        """Forget it; whether there was anything."""
        return self._states.pop(key, None) is not None

    def keep(self, states: Mapping[str, str]) -> None:
        """Write them down."""
        for key, state in states.items():
            self._states[key] = state
            self._states.move_to_end(key)
        while len(self._states) > self._max_states:
            self._states.popitem(last=False)


@dataclass(slots=True)
class _Grant:
    """What a request's id got; times in microseconds since the epoch."""

    deadline: int
    """Until when the same request gets it again."""
    permits: int
    fingerprint: str
    ends: int
    """Until when it may be settled."""
    start: int
    buckets: Sequence[Bucket]
    """What it took from; none: it was given for good."""
    settled: bool = False
    elsewhere: str = ""
    """The key of its record in another cell."""
    stands_until: int = 0
    """When it ends by itself, unless it is confirmed before; 0: it was."""


class MemoryBuckets:
    """Decides as `store/redis.py` does, by the pure functions; grants are recorded for ten minutes.

    All is gone when the process ends, and nothing is shared between processes. Beyond `max_states` buckets and records
    the one that was used least recently is forgotten: a bucket is full again then.
    """

    def __init__(self, *, max_states: int = MAX_STATES, now_us: Callable[[], int] = wall_clock_us) -> None:
        self._states = States(max_states)
        self._grants: dict[str, _Grant] = {}
        self._now_us = now_us

    def __len__(self) -> int:
        return len(self._states) + len(self._grants)

    async def decide(self, asks: Sequence[Ask], *, traceparent: str = "") -> list[Verdict]:
        """Decide in this order, in one atomic step."""
        now_us = self._now_us()
        return [self.decide_at(ask, now_us) for ask in asks]

    async def reset(self, keys: Sequence[str]) -> int:
        """Make these buckets full again; how many were not."""
        return sum(self._states.drop(key) for key in keys)

    def decide_at(self, ask: Ask, now_us: int) -> Verdict:
        """Decide as if it were `now_us`."""
        known = [(self._states.get(bucket.key), bucket.rule.params) for bucket in ask.buckets]
        recalled = self._recall(ask, now_us)
        if recalled is not None or ask.mode is Mode.RECALL:
            answer, permits, wait_us = recalled or (Answer.UNRECORDED, 0, 0)
            outcomes = decide(known, 0, Mode.LOOK, now_us).outcomes
            verdict = Verdict(answer, permits, ask.buckets, outcomes, shadows=ask.shadows)
            verdict.wait_us, verdict.age_us = max(0, wait_us), max(0, -wait_us)
            return _named(verdict, ask)
        what = decide(known, ask.permits, ask.mode, now_us, ask.shadows, ask.terms, ask.counting)
        if ask.mode is Mode.TAKE or ask.mode is Mode.COUNT:
            self._keep(ask.buckets, what.states)
        if what.answer is Answer.ALLOWED and ask.mode is Mode.TAKE and ask.record:
            self._record(ask, known, what, now_us)
        verdict = Verdict(what.answer, what.permits, ask.buckets, what.outcomes, shadows=ask.shadows)
        verdict.wait_us = what.wait_us
        return _named(verdict, ask)

    async def settle(self, record: str, operation: Operation, permits: int, holder: str) -> Settled:
        """End, release or renew a grant."""
        return self.settle_at(record, operation, permits, holder, self._now_us())

    def settle_at(self, record: str, operation: Operation, permits: int, holder: str, now_us: int) -> Settled:
        """Do so as if it were `now_us`."""
        grant = self._grants.get(record)
        if grant is None or now_us >= max(grant.deadline, grant.ends) + KEPT_US:
            return Settled(Status.UNKNOWN, 0, 0, 0)
        if grant.settled:
            return Settled(Status.SETTLED, grant.permits, 0, 0, grant.elsewhere)
        if not (grant.buckets or grant.elsewhere):
            return Settled(Status.NOT_HELD, grant.permits, 0, 0)
        if now_us >= grant.ends and operation is not Operation.RELEASE:
            return Settled(Status.LOST if operation is Operation.RENEW else Status.LATE, grant.permits, 0, 0)
        states: list[str | None] = []
        ends = grant.ends
        if operation is Operation.RENEW and grant.elsewhere:
            ends = max(ends, now_us + ends - grant.start)
        for bucket in grant.buckets:
            state, params = self._states.get(bucket.key), bucket.rule.params
            if operation is Operation.RENEW and isinstance(params, HELD):
                renewed = renew(state, params, now_us, holder)
                if renewed is None:
                    return Settled(Status.LOST, grant.permits, 0, 0)
                ends = max(ends, now_us + params.ttl_us)
                state = renewed
            elif operation is Operation.SETTLE:
                state = settle(state, permits - grant.permits, params, grant.start, now_us)
            if operation is not Operation.RENEW:
                state = release(state, params, now_us, holder)
            states.append(state)
        changed = self._keep(grant.buckets, states)
        grant.ends = ends
        if operation is Operation.SETTLE:
            grant.settled, grant.permits = True, permits
        return Settled(Status.DONE, grant.permits, grant.ends - now_us, changed, grant.elsewhere)

    async def conclude(self, reserved: str, endings: Sequence[Ending]) -> Concluded:
        """End reservations; `reserved` is for stores with cells."""
        return self.conclude_at(endings, self._now_us())

    def conclude_at(self, endings: Sequence[Ending], now_us: int) -> Concluded:
        """Do so as if it were `now_us`."""
        overdue = sorted((grant.stands_until, key) for key, grant in self._grants.items() if grant.stands_until)
        overdue = [(until, key) for until, key in overdue if until <= now_us]
        expired_permits = sum(self._reduce(key, 0, now_us) for _, key in overdue)
        done = [self._end(ending, now_us) for ending in endings]
        standing = [grant.permits for grant in self._grants.values() if grant.stands_until]
        return Concluded(len(overdue), expired_permits, len(standing), 0 if endings else sum(standing), done)

    def _end(self, ending: Ending, now_us: int) -> bool:
        grant = self._grants.get(ending.record)
        confirming = ending.conclusion is Conclusion.CONFIRM
        if grant is None or not grant.stands_until:
            return confirming and grant is not None
        cost = ending.permits if confirming else 0
        self._reduce(ending.record, cost, now_us, refused=ending.conclusion is Conclusion.REFUSE)
        grant.stands_until = 0
        if confirming and not ending.kept:
            self._grants.pop(ending.record, None)
        return True

    def _reduce(self, record: str, cost: int, now_us: int, *, refused: bool = False) -> int:
        """Make a reservation cost less; at 0 it is forgotten. What it had cost."""
        grant = self._grants[record]
        for bucket in grant.buckets:
            if refused and bucket.rule.count_denied:
                continue
            state, params = self._states.get(bucket.key), bucket.rule.params
            if cost < grant.permits:
                state = settle(state, cost - grant.permits, params, grant.start, now_us)
            if not cost:
                state = release(state, params, now_us, record.rpartition(":")[2])
            self._keep([bucket], [state])
        before, grant.permits = grant.permits, min(cost, grant.permits)
        if not cost:
            del self._grants[record]
        return before

    async def report(self, buckets: Sequence[Bucket], feedback: Feedback) -> list[Learned]:
        """Let buckets know what an upstream said."""
        return self.report_at(buckets, feedback, self._now_us())

    def report_at(self, buckets: Sequence[Bucket], feedback: Feedback, now_us: int) -> list[Learned]:
        """Do so as if it were `now_us`."""
        told: list[Learned] = []
        for bucket in buckets:
            after = report(
                self._states.get(bucket.key),
                bucket.rule.params,
                now_us,
                kind=feedback.kind,
                latency_us=feedback.latency_us or 0,
                block_us=feedback.block_us,
                remaining=feedback.remaining,
            )
            changed = self._keep([bucket], [after]) > 0
            told.append(Learned(changed, max(0, blocked_until(after) - now_us)))
        return told

    async def read(self, keys: Sequence[str]) -> tuple[int, list[str | None]]:
        """The time, and what these buckets hold then."""
        return self._now_us(), [self._states.get(key) for key in keys]

    def _keep(self, buckets: Sequence[Bucket], states: Sequence[str | None]) -> int:
        """Write down what has changed; how many have."""
        changed = [
            (bucket.key, state)
            for bucket, state in zip(buckets, states, strict=True)
            if state != self._states.get(bucket.key)
        ]
        self._states.keep({key: state for key, state in changed if state})
        for key, state in changed:
            if not state:
                self._states.drop(key)
        return len(changed)

    def _record(self, ask: Ask, known: Sequence[State], what: Decided, now_us: int) -> None:
        start = now_us + what.wait_us
        held = [
            bucket
            for index, bucket in enumerate(ask.buckets)
            if (index not in ask.shadows or what.states[index] != known[index][0])
            and not isinstance(bucket.rule.params, CircuitBreaker)
        ]
        while len(self._grants) >= MAX_GRANTS:
            self._grants.pop(next(iter(self._grants)))
        self._grants.pop(ask.record, None)
        self._grants[ask.record] = _Grant(
            deadline=now_us + max(RECORD_US, what.wait_us + ask.terms.hold_us),
            permits=what.permits,
            fingerprint=ask.fingerprint,
            ends=start + ask.terms.hold_us if ask.terms.holder or what.wait_us else 0,
            start=start if ask.terms.holder or what.wait_us else 0,
            buckets=held if ask.terms.holder else (),
            elsewhere=ask.terms.elsewhere,
            stands_until=now_us + ask.terms.reserve_us if ask.terms.reserve_us else 0,
        )

    def _recall(self, ask: Ask, now_us: int) -> tuple[Answer, int, int] | None:
        """What the request's id already has, the permits granted, and how long until they begin, or began."""
        grant = self._grants.get(ask.record) if ask.record else None
        if grant is None or now_us >= grant.deadline:
            return None
        same = grant.fingerprint == ask.fingerprint
        wait_us = grant.start - now_us if grant.start else 0
        return (Answer.REPLAYED if same else Answer.REUSED), grant.permits, wait_us


def _named(verdict: Verdict, ask: Ask) -> Verdict:
    if ask.terms.holder and verdict.allowed:
        verdict.grant_id, verdict.held_us = ask.terms.holder, max(0, ask.held_us - verdict.age_us)
    return verdict
