"""Reservations end as the pure functions say: in the script, and in memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from headworks_limiter.domain.algorithms import Params
from headworks_limiter.domain.ask import Ask
from headworks_limiter.domain.concurrency import Concurrency
from headworks_limiter.domain.decision import Answer, Mode, Terms
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.periods import Period
from headworks_limiter.domain.reservations import Conclusion, Ending
from headworks_limiter.domain.rule import Bucket, Rule, reserved_key
from headworks_limiter.store.memory import MemoryBuckets
from headworks_limiter.store.redis import RedisBuckets
from redis.asyncio import Redis

from tests.integration.limiter.serving import text
from tests.integration.limiter.test_conformance import ALL, NAMES, SECOND_US, START_US, Walk

RESERVED = reserved_key("{hw:0}")
TTL_US = 2 * SECOND_US
WINDOW_US = 60 * SECOND_US


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        """Now."""
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest, redis: Redis, clock: Clock) -> MemoryBuckets | RedisBuckets:
    if request.param == "memory":
        return MemoryBuckets(now_us=clock)
    return RedisBuckets(redis, timeout_s=10, now_us=clock)


def reserving(params: Params, permits: int, name: str = "1", *, count_denied: bool = False) -> Ask:
    """A request for a reservation."""
    rule = Rule("api", "all", (), params, count_denied=count_denied, platform=True)
    ask = Ask(0, Mode.TAKE, permits, [Bucket("{hw:0}:lim:_platform:api/all", rule)])
    ask.record, ask.fingerprint = f"{{hw:0}}:lim:_platform:grant:{name}", "0"
    ask.terms = Terms(holder=name, hold_us=TTL_US, reserve_us=TTL_US)
    return ask


def ending(ask: Ask, conclusion: Conclusion, permits: int = 0) -> Ending:
    return Ending(conclusion, ask.record, permits, False)


async def left(store: MemoryBuckets | RedisBuckets, ask: Ask) -> int:
    """Permits of its bucket that are left."""
    look = replace(ask, mode=Mode.LOOK, permits=1, record="", terms=Terms())
    return (await store.decide([look]))[0].outcomes[0].remaining


RATES: list[Params] = [
    Gcra(5, 3_600 * SECOND_US, 5),
    FixedWindow(5, Period(us=WINDOW_US), first_hit=True),
    Concurrency(5, WINDOW_US),
]


@pytest.mark.parametrize("params", RATES)
async def test_what_nobody_ends_comes_back_when_its_time_is_over_and_not_before(
    store: MemoryBuckets | RedisBuckets, clock: Clock, params: Params
) -> None:
    ask = reserving(params, 3)
    assert (await store.decide([ask]))[0].answer is Answer.ALLOWED
    clock.now_us += TTL_US - 1
    assert (await store.conclude(RESERVED, ()))[:4] == (0, 0, 1, 3)
    assert await left(store, ask) == 2
    clock.now_us += 1
    assert (await store.conclude(RESERVED, ()))[:4] == (1, 3, 0, 0)
    assert await left(store, ask) == 5


async def test_a_reservation_that_has_ended_cannot_be_confirmed(
    store: MemoryBuckets | RedisBuckets, clock: Clock
) -> None:
    ask = reserving(RATES[1], 3)
    await store.decide([ask])
    clock.now_us += TTL_US
    assert (await store.conclude(RESERVED, [ending(ask, Conclusion.CONFIRM, 3)])).done == [False]
    assert await left(store, ask) == 5


@pytest.mark.parametrize("conclusion", list(Conclusion))
async def test_what_was_confirmed_stays_taken_whatever_comes_later(
    store: MemoryBuckets | RedisBuckets, clock: Clock, conclusion: Conclusion
) -> None:
    ask = reserving(RATES[1], 3)
    await store.decide([ask])
    assert (await store.conclude(RESERVED, [ending(ask, Conclusion.CONFIRM, 3)])).done == [True]
    assert (await store.conclude(RESERVED, [ending(ask, conclusion, 3)])).done == [False]
    clock.now_us += 10 * TTL_US
    assert (await store.conclude(RESERVED, ())).expired == 0
    assert await left(store, ask) == 2


async def test_a_confirmation_for_fewer_permits_gives_back_the_rest(
    store: MemoryBuckets | RedisBuckets, clock: Clock
) -> None:
    ask = reserving(RATES[1], 4)
    await store.decide([ask])
    assert (await store.conclude(RESERVED, [ending(ask, Conclusion.CONFIRM, 1)])).done == [True]
    assert await left(store, ask) == 4


async def test_nothing_comes_back_in_a_later_window(store: MemoryBuckets | RedisBuckets, clock: Clock) -> None:
    first, later = reserving(RATES[1], 3, "1"), reserving(RATES[1], 2, "2")
    await store.decide([first])
    clock.now_us += WINDOW_US
    await store.decide([later])
    assert (await store.conclude(RESERVED, [ending(later, Conclusion.CONFIRM, 2)])).expired_permits == 3
    assert await left(store, later) == 3


async def test_what_has_drained_since_does_not_come_back_twice(
    store: MemoryBuckets | RedisBuckets, clock: Clock
) -> None:
    gcra = Gcra(10, 10 * SECOND_US, 10)  # one a second
    first, other = reserving(gcra, 2, "1"), reserving(gcra, 4, "2")
    await store.decide([first])
    await store.decide([other])
    await store.conclude(RESERVED, [ending(other, Conclusion.CONFIRM, 4)])
    clock.now_us += TTL_US
    assert (await store.conclude(RESERVED, ())).expired == 1
    assert await left(store, first) == 6  # 4 of the other, of which none has drained: the first's two have


async def test_a_refused_request_keeps_what_counts_refusals(store: MemoryBuckets | RedisBuckets, clock: Clock) -> None:
    counting = [reserving(RATES[0], 2, name, count_denied=True) for name in "ab"]
    await store.decide(counting)
    ends = [ending(counting[0], Conclusion.REFUSE), ending(counting[1], Conclusion.REFUND)]
    assert (await store.conclude(RESERVED, ends)).done == [True, True]
    assert await left(store, counting[0]) == 3


@pytest.mark.parametrize("draw", [*ALL, lambda rng: rng.choice(ALL)(rng)], ids=NAMES)
@pytest.mark.parametrize("seed", [11, 12])
async def test_memory_and_script_agree_on_random_reservations(
    redis: Redis, draw: Callable[[random.Random], Params], seed: int
) -> None:
    walk = Walk(random.Random(seed), draw)
    rng = walk.rng
    script = RedisBuckets(redis, timeout_s=10, now_us=lambda: walk.now_us)
    memory = MemoryBuckets(now_us=lambda: walk.now_us)
    made: list[tuple[str, int]] = []
    for number in range(500):
        ask = walk.step()
        ask.mode = rng.choice([Mode.TAKE, Mode.TAKE, Mode.TAKE, Mode.LOOK, Mode.COUNT])
        if ask.mode is not Mode.LOOK:
            name = rng.choice([str(number), f"again-{rng.randrange(5)}"])
            ask.record, ask.fingerprint = f"{{hw:0}}:lim:_platform:grant:{walk.round}-{name}", rng.choice("ab") * 32
            reserve_us = rng.choice([1, SECOND_US, 60 * SECOND_US])
            ask.terms = Terms(0, rng.random() < 0.3, f"{walk.round}-{name}", 60 * SECOND_US, reserve_us)
            made = [*made[-8:], (ask.record, ask.permits)]
        verdicts = await script.decide([ask]), await memory.decide([ask])
        assert verdicts[0] == verdicts[1], f"step {number}: {ask}"
        if rng.random() < 0.7:
            chosen = rng.sample(made, min(len(made), rng.randint(0, 3)))
            ends = [
                Ending(rng.choice(list(Conclusion)), record, rng.randint(1, permits), rng.random() < 0.5)
                for record, permits in chosen
            ]
            told = [await each.conclude(RESERVED, ends) for each in (script, memory)]
            assert told[0] == told[1], f"step {number}: {ends}"
        keys = [walk.key(rule) for rule in walk.rules]
        stored = [value if value is None else text(value) for value in await redis.mget(keys)]
        assert stored == [memory._states.get(key) for key in keys], f"step {number}: {ask}"
