"""Buckets in Redis: one script call decides a whole batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headworks_core import scripts
from redis.asyncio import Redis

from headworks_limiter.domain.algorithms import Params
from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.outcome import RuleOutcome
from headworks_limiter.domain.rule import Rule

Argument = str | int
FIRST_HIT = -1
ANSWERS = tuple(Answer)


class RedisBuckets:
    """Decides by `store/scripts/decide.lua`."""

    def __init__(self, redis: Redis, *, now_us: Callable[[], int] | None = None) -> None:
        """`now_us` is for tests; without it the server's clock decides."""
        self._redis = redis
        self._now_us = now_us
        self._decide = scripts.load("headworks_limiter.store", "decide")

    async def decide(self, asks: Sequence[Ask], *, traceparent: str = "") -> list[Verdict]:
        """Decide in this order, in one atomic step; all of one cell. Raises Unavailable: the outcome is unknown."""
        keys, arguments = encode(asks, "" if self._now_us is None else self._now_us())
        replies = await self._decide(self._redis, keys, arguments, traceparent=traceparent)
        return [_verdict(ask, reply) for ask, reply in zip(asks, replies, strict=True)]


def encode(asks: Sequence[Ask], now_us: Argument) -> tuple[list[str], list[Argument]]:
    """KEYS and ARGV of decide.lua: every key and every rule once."""
    keys: dict[str, int] = {}
    rules: dict[Rule, int] = {}
    requests: list[Argument] = []
    for ask in asks:
        record = keys.setdefault(ask.record, len(keys) + 1) if ask.record else 0
        requests += (int(ask.mode), ask.permits, record, ask.fingerprint, len(ask.buckets))
        for bucket in ask.buckets:
            requests.append(keys.setdefault(bucket.key, len(keys) + 1))
            requests.append(rules.setdefault(bucket.rule, len(rules) + 1))
    arguments: list[Argument] = [now_us, len(rules)]
    for rule in rules:
        arguments += thresholds(rule.params)
    return list(keys), arguments + requests


def thresholds(params: Params) -> tuple[Argument, ...]:
    """A rule's algorithm and its four thresholds, as the script takes them."""
    if isinstance(params, Gcra):
        return "gcra", params.permit_units, params.us_units, params.burst, 0
    origin_us = FIRST_HIT if params.first_hit else params.period.origin_us
    return "fixed_window", params.limit, params.period.us, params.period.months, origin_us


def _verdict(ask: Ask, reply: Sequence[int]) -> Verdict:
    outcomes = [
        RuleOutcome(reply[at] == 1, reply[at + 1], reply[at + 2], reply[at + 3]) for at in range(2, len(reply), 4)
    ]
    return Verdict(ANSWERS[reply[0]], reply[1], ask.buckets, outcomes)
