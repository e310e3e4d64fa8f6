"""A store that fails before or after it has done what it was asked: never too much is granted, nothing stays away."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from headworks_core.cells import Meta
from headworks_core.context import CallContext
from headworks_core.errors import Unavailable
from headworks_limiter.decider import Decider
from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Mode
from headworks_limiter.domain.reservations import Concluded, Ending
from headworks_limiter.requests import RequestReader
from headworks_limiter.rules import parse
from headworks_limiter.store.breaker import Breaker
from headworks_limiter.store.local import LocalBuckets
from headworks_limiter.store.memory import MemoryBuckets

from tests.integration.limiter.serving import request

TTL_US = 2_000_000
LIMIT, OF_TENANT = 40, 6
RULES = f"""
namespaces:
  api:
    rules:
      - {{name: user, match: {{}}, limit: {OF_TENANT}, per: 2000d, algorithm: fixed_window}}
      - {{name: all, match: {{}}, limit: {LIMIT}, per: 2000d, algorithm: fixed_window, scope: platform}}
      - {{name: slow, match: {{}}, limit: {LIMIT}, per: 2000d, algorithm: sliding_window_log, scope: platform}}
"""
TENANTS = [f"tenant-{number}" for number in range(30)]


class Unreliable(MemoryBuckets):
    """Does not do what it is asked, or does it and does not say so, as often as `share`."""

    def __init__(self, rng: random.Random) -> None:
        self.now_us = 1_772_323_200_000_000
        super().__init__(now_us=lambda: self.now_us)
        self.share = 0.25
        self._rng = rng

    def _fail(self, why: str) -> None:
        if self._rng.random() < self.share / 2:
            raise Unavailable(why)

    async def decide(self, asks: Sequence[Ask], *, traceparent: str = "") -> list[Verdict]:
        """Maybe."""
        self._fail("not done")
        verdicts = await super().decide(asks)
        self._fail("done")
        return verdicts

    async def conclude(self, reserved: str, endings: Sequence[Ending]) -> Concluded:
        """Maybe."""
        self._fail("not done")
        what = await super().conclude(reserved, endings)
        self._fail("done")
        return what


class Patient(Breaker):
    """Asks again however often it has failed."""

    def failed(self, admitted_at: float) -> None:
        """Never mind."""


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_fails_when_no_more_is_granted_than_there_is_and_all_of_it_can_be(seed: int) -> None:
    rng = random.Random(seed)
    store = Unreliable(rng)
    reader = RequestReader(parse(RULES.encode(), path="rules.yaml"), Meta(cells=64))
    granted: dict[str, int] = {}
    pending: list[tuple[str, Ask]] = []
    unanswered = [0]  # permits wanted by those who heard nothing, and have no id to ask again
    async with Decider(store, LocalBuckets(replicas=1), Patient(lambda: 0.0), reservation_ttl_us=TTL_US) as decider:

        async def step(name: str, ask: Ask) -> None:
            (outcome,) = await decider.decide_all([ask], CallContext("any", "any", frozenset()))
            if isinstance(outcome, Verdict) and outcome.allowed:
                granted[name] = outcome.permits
            elif not isinstance(outcome, Verdict) and ask.record:
                pending.append((name, ask))
            elif not isinstance(outcome, Verdict):
                unanswered.append(ask.permits)

        for number in range(300):
            tenant = rng.choice(TENANTS)
            if pending and rng.random() < 0.4:
                name, ask = pending.pop(rng.randrange(len(pending)))
                await step(name, ask)
            else:
                asked = request(_permits=rng.choice([1, 1, 2, 3]), user="x", _allow_partial=rng.random() < 0.3)
                if rng.random() < 0.5:
                    asked.request_id = f"00000000-0000-4000-8000-{number:012d}"
                await step(str(number), reader.ask(asked, tenant, Mode.TAKE))
            assert sum(granted.values()) <= LIMIT
            store.now_us += rng.choice([0, 1_000, TTL_US // 2, TTL_US])
            await decider.reservations.look(reader.platforms if rng.random() < 0.3 else [])

        store.share = 0.0
        for name, ask in pending:  # whose callers go on until they have an answer
            await step(name, ask)
        assert sum(granted.values()) <= LIMIT
        store.now_us += TTL_US
        await decider.reservations.look(reader.platforms)
        assert decider.reservations.standing_permits == 0
        look = reader.ask(request(user="x"), "another", Mode.LOOK)
        left = {outcome.remaining for outcome in (await decider.look(look)).outcomes[1:]}
        assert len(left) == 1  # both platform rules were always taken from together
        gone = LIMIT - left.pop() - sum(granted.values())
        assert 0 <= gone <= sum(unanswered)  # confirmed, but the answer was lost
