"""Buckets in Redis: one script call decides a whole batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from headworks_core import scripts
from headworks_core.errors import Unavailable

from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import PLAIN, Answer, Terms
from headworks_limiter.domain.grants import Learned, Operation, Settled, Status
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.reservations import Concluded, Ending
from headworks_limiter.domain.rule import Bucket, Rule
from headworks_limiter.domain.upstream import Feedback, Kind
from headworks_limiter.store.patience import within

Argument = str | int
ANSWERS = tuple(Answer)
KINDS = (Kind.OK, Kind.OVERLOAD, Kind.FAILURE, Kind.IGNORED)
JSON = json.JSONEncoder(separators=(",", ":"))


class RedisBuckets:
    """Decides by `store/scripts/decide.lua`."""

    def __init__(self, redis: scripts.Runs, *, timeout_s: float, now_us: Callable[[], int] | None = None) -> None:
        """`timeout_s` bounds a decision with all that it takes, so the client needs no timeout of its own.

        `now_us` is for tests; without it the server's clock decides.
        """
        self._redis = redis
        self._timeout_s = timeout_s
        self._now_us = now_us
        self._decide = scripts.load("headworks_limiter.store", "decide")
        self._reset = scripts.load("headworks_limiter.store", "reset")
        self._settle = scripts.load("headworks_limiter.store", "settle")
        self._read = scripts.load("headworks_limiter.store", "read")
        self._report = scripts.load("headworks_limiter.store", "report")
        self._conclude = scripts.load("headworks_limiter.store", "conclude")

    async def prepare(self, connections: int, server: scripts.Runs | None = None) -> None:
        """Open connections and hand over the script, so that the first requests find both. May take its time.

        `server` is one of several that share the cells. Raises Unavailable.
        """
        redis = self._redis if server is None else server
        await asyncio.gather(*(self._decide(redis, (), ("", encode(())[1])) for _ in range(connections)))

    async def decide(self, asks: Sequence[Ask], *, traceparent: str = "") -> list[Verdict]:
        """Decide in this order, in one atomic step; all of one cell. Raises Unavailable: the outcome is unknown."""
        keys, batch = encode(asks)
        now_us = "" if self._now_us is None else self._now_us()
        try:
            call = self._decide(self._redis, keys, (now_us, batch), traceparent=traceparent)
            reply = await within(self._timeout_s, call)
        except TimeoutError as error:
            raise Unavailable("the store did not answer in time") from error
        return _verdicts(asks, reply)

    async def reset(self, keys: Sequence[str]) -> int:
        """Make these buckets of one cell full again; how many were not. Raises Unavailable: the outcome is unknown."""
        try:
            held: int = await within(self._timeout_s, self._reset(self._redis, keys, ()))
        except TimeoutError as error:
            raise Unavailable("the store did not answer in time") from error
        return held

    async def settle(self, record: str, operation: Operation, permits: int, holder: str) -> Settled:
        """End, release or renew a grant. Raises Unavailable: the outcome is unknown, and asking again does no harm."""
        reply = await self._within(self._settle, (record,), (operation, permits, holder))
        return Settled(Status(reply[0]), reply[1], reply[2], reply[3], _text(reply[4]))

    async def conclude(self, reserved: str, endings: Sequence[Ending]) -> Concluded:
        """End reservations of one cell, by the key of its list. Raises Unavailable: asking again does no harm."""
        batch = [
            argument for each in endings for argument in (each.conclusion, each.record, each.permits, int(each.kept))
        ]
        reply = await self._within(self._conclude, (reserved,), (JSON.encode(batch),))
        return Concluded(reply[0], reply[1], reply[2], reply[3], [done == 1 for done in reply[4:]])

    async def report(self, buckets: Sequence[Bucket], feedback: Feedback) -> list[Learned]:
        """Let buckets of one cell know what an upstream said. Raises Unavailable: the outcome is unknown."""
        told = {
            "rules": [_told(bucket.rule) for bucket in buckets],
            "kind": KINDS.index(feedback.kind),
            "latency_us": feedback.latency_us or 0,
            "block_us": feedback.block_us,
            "remaining": -1 if feedback.remaining is None else feedback.remaining,
        }
        reply = await self._within(self._report, [bucket.key for bucket in buckets], (JSON.encode(told),))
        return [Learned(reply[at] == 1, reply[at + 1]) for at in range(0, len(reply), 2)]

    async def read(self, keys: Sequence[str]) -> tuple[int, list[str | None]]:
        """The time, in us since the epoch, and what these buckets of one cell hold then. Raises Unavailable."""
        now_us, states = await self._within(self._read, keys, ())
        return now_us, [None if state is None else _text(state) for state in states]

    async def _within(self, script: scripts.Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        now_us = "" if self._now_us is None else self._now_us()
        try:
            return await within(self._timeout_s, script(self._redis, keys, (now_us, *args)))
        except TimeoutError as error:
            raise Unavailable("the store did not answer in time") from error


def _text(stored: bytes | str) -> str:
    return stored.decode() if isinstance(stored, bytes) else stored


def _told(rule: Rule) -> tuple[Argument, ...]:
    return (*rule.params.thresholds, int(rule.shadow), int(rule.count_denied))


def encode(asks: Sequence[Ask]) -> tuple[list[str], str]:
    """KEYS and the batch of decide.lua: every key and every rule once."""
    keys: dict[str, int] = {}
    rules: dict[Rule, int] = {}
    terms: dict[Terms, int] = {}
    requests: list[Argument] = []
    for ask in asks:
        record = keys.setdefault(ask.record, len(keys) + 1) if ask.record else 0
        known = terms.setdefault(ask.terms, len(terms) + 1) if ask.terms is not PLAIN else 0
        requests += (ask.mode, ask.permits, record, ask.fingerprint, known, len(ask.buckets))
        for bucket in ask.buckets:
            requests.append(keys.setdefault(bucket.key, len(keys) + 1))
            requests.append(rules.setdefault(bucket.rule, len(rules) + 1))
    batch = {
        "rules": [_told(rule) for rule in rules],
        "terms": [(each.wait_us, int(each.partial), *each[2:]) for each in terms],
        "requests": requests,
    }
    return list(keys), JSON.encode(batch)


def _verdicts(asks: Sequence[Ask], reply: Sequence[int]) -> list[Verdict]:
    verdicts = []
    at = 0
    for ask in asks:
        answer, permits, wait_us = ANSWERS[reply[at]], reply[at + 1], reply[at + 2]
        end = at + 3 + 4 * len(ask.buckets)
        outcomes = [
            RuleOutcome(reply[entry] == 1, reply[entry + 1], reply[entry + 2], reply[entry + 3])
            for entry in range(at + 3, end, 4)
        ]
        verdict = Verdict(answer, permits, ask.buckets, outcomes, shadows=ask.shadows, wait_us=wait_us)
        if wait_us < 0:
            verdict.wait_us, verdict.age_us = 0, -wait_us
        if ask.terms.holder and verdict.allowed:
            verdict.grant_id, verdict.held_us = ask.terms.holder, max(0, ask.held_us - verdict.age_us)
        verdicts.append(verdict)
        at = end
    return verdicts
