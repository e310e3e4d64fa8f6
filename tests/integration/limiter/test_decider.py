"""Requests share script calls, one for each cell; who has given up is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from headworks_core.cells import Meta
from headworks_core.context import CallContext
from headworks_core.errors import Unavailable
from headworks_limiter.decider import MAX_BUCKETS, Decider
from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Answer, Mode
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.rule import Bucket, Rule
from headworks_limiter.store.breaker import Breaker
from headworks_limiter.store.local import LocalBuckets
from headworks_limiter.store.redis import RedisBuckets
from redis.asyncio import Redis

RULE = Rule("api", "rate", (), Gcra(10, 3_000 * 86_400 * 1_000_000, 10))
CALLER = CallContext()


class Counted(RedisBuckets):
    """The store, and which cells and how many buckets each script call had."""

    calls: list[tuple[set[int], int]]

    async def decide(self, asks: Sequence[Ask], *, traceparent: str = "") -> list[Verdict]:
        """As the store does."""
        self.calls.append(({ask.cell for ask in asks}, sum(len(ask.buckets) for ask in asks)))
        return await super().decide(asks, traceparent=traceparent)


@pytest.fixture
def store(redis: Redis) -> Counted:
    counted = Counted(redis, timeout_s=10)
    counted.calls = []
    return counted


@pytest.fixture
async def decider(store: Counted) -> AsyncIterator[Decider]:
    async with Decider(store, LocalBuckets(replicas=1), Breaker(asyncio.get_running_loop().time)) as made:
        yield made


def ask(name: str = "a", *, cell: int = 0, permits: int = 1, rules: int = 1) -> Ask:
    prefix = Meta(cells=64).prefix(cell)
    buckets = [Bucket(f"{prefix}:lim:t:{name}:{number}", RULE) for number in range(rules)]
    return Ask(cell, Mode.TAKE, permits, buckets)


async def test_concurrent_requests_share_script_calls(decider: Decider, store: Counted) -> None:
    verdicts = await asyncio.gather(*(decider.decide(ask(), CALLER) for _ in range(40)))
    assert sum(verdict.allowed for verdict in verdicts) == 10
    assert store.calls == [({0}, 40)]


async def test_no_script_call_spans_cells(decider: Decider, store: Counted) -> None:
    verdicts = await asyncio.gather(*(decider.decide(ask(cell=number % 3), CALLER) for number in range(45)))
    assert sum(verdict.allowed for verdict in verdicts) == 30
    assert sorted(store.calls) == [({0}, 15), ({1}, 15), ({2}, 15)]


async def test_a_caller_whose_deadline_has_passed_consumes_nothing(decider: Decider, store: Counted) -> None:
    now = asyncio.get_running_loop().time()
    late = CallContext(deadline=now - 0.001)
    outcomes = await asyncio.gather(
        decider.decide(ask(permits=10), late),
        decider.decide(ask(), CallContext(deadline=now + 60)),
        decider.decide_all([ask(permits=10)] * 2, late),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], Unavailable)
    assert isinstance(outcomes[1], Verdict)
    assert outcomes[1].outcomes[0].remaining == 9
    assert isinstance(outcomes[2], list)
    assert all(isinstance(each, Unavailable) for each in outcomes[2])
    assert store.calls == [({0}, 1)]


async def test_a_caller_that_was_cancelled_consumes_nothing(decider: Decider, store: Counted) -> None:
    gone = asyncio.ensure_future(decider.decide(ask(permits=10), CALLER))
    stays = asyncio.ensure_future(decider.decide(ask(), CALLER))
    await asyncio.sleep(0)  # both have handed in what they want
    gone.cancel()
    assert (await stays).outcomes[0].remaining == 9
    assert store.calls == [({0}, 1)]


async def test_a_large_batch_goes_in_parts_and_in_order(decider: Decider, store: Counted) -> None:
    outcomes = await decider.decide_all([ask(rules=64)] * 100, CALLER)
    assert [isinstance(each, Verdict) and each.allowed for each in outcomes] == [True] * 10 + [False] * 90
    assert all(buckets <= MAX_BUCKETS for _, buckets in store.calls)
    assert sum(buckets for _, buckets in store.calls) <= 6_400  # fewer where what was refused before need not be asked


async def test_a_script_call_may_have_thousands_of_keys(redis: Redis) -> None:
    store = RedisBuckets(redis, timeout_s=60)
    asks = [ask(str(number)) for number in range(1_500)] * 2
    for number, each in enumerate(asks[:1_500]):
        each.record, each.fingerprint = f"{{hw:0}}:lim:t:grant:{number}", "00"
    verdicts = await store.decide(asks)
    assert [verdict.answer for verdict in verdicts] == [Answer.ALLOWED] * 1_500 + [Answer.REPLAYED] * 1_500
    assert {verdict.outcomes[0].remaining for verdict in verdicts} == {9}
    assert len(await redis.keys("*:lim:t:*")) == 3_000
