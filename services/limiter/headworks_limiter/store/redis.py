"""Buckets in Redis: one script call decides a whole batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

from headworks_core import scripts
from headworks_core.errors import Unavailable

from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.rule import Rule
from headworks_limiter.store.patience import within

Argument = str | int
ANSWERS = tuple(Answer)
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


def encode(asks: Sequence[Ask]) -> tuple[list[str], str]:
    """KEYS and the batch of decide.lua: every key and every rule once."""
    keys: dict[str, int] = {}
    rules: dict[Rule, int] = {}
    requests: list[Argument] = []
    for ask in asks:
        record = keys.setdefault(ask.record, len(keys) + 1) if ask.record else 0
        requests += (ask.mode, ask.permits, record, ask.fingerprint, len(ask.buckets))
        for bucket in ask.buckets:
            requests.append(keys.setdefault(bucket.key, len(keys) + 1))
            requests.append(rules.setdefault(bucket.rule, len(rules) + 1))
    batch = {"rules": [(*rule.params.thresholds, int(rule.shadow)) for rule in rules], "requests": requests}
    return list(keys), JSON.encode(batch)


def _verdicts(asks: Sequence[Ask], reply: Sequence[int]) -> list[Verdict]:
    verdicts = []
    at = 0
    for ask in asks:
        answer, permits = ANSWERS[reply[at]], reply[at + 1]
        end = at + 2 + 4 * len(ask.buckets)
        outcomes = [
            RuleOutcome(reply[entry] == 1, reply[entry + 1], reply[entry + 2], reply[entry + 3])
            for entry in range(at + 2, end, 4)
        ]
        verdicts.append(Verdict(answer, permits, ask.buckets, outcomes, shadows=ask.shadows))
        at = end
    return verdicts
