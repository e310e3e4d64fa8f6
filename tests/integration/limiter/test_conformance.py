"""The scripts answer as the pure functions do: outcome, state and all."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from headworks_limiter.domain.adaptive import LEARN, Adaptive
from headworks_limiter.domain.algorithms import HELD, Params
from headworks_limiter.domain.ask import Ask
from headworks_limiter.domain.circuit_breaker import CircuitBreaker
from headworks_limiter.domain.concurrency import Concurrency
from headworks_limiter.domain.decision import PLAIN, Decided, Mode, State, Terms, decide
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.grants import Operation
from headworks_limiter.domain.leaky_bucket import LeakyBucket
from headworks_limiter.domain.periods import DAY_US, WEEK_US, Period
from headworks_limiter.domain.rule import Bucket, Rule
from headworks_limiter.domain.sliding_window_counter import SlidingWindowCounter
from headworks_limiter.domain.sliding_window_log import SlidingWindowLog
from headworks_limiter.domain.token_bucket import TokenBucket
from headworks_limiter.domain.upstream import Feedback, Kind
from headworks_limiter.store.memory import MemoryBuckets
from headworks_limiter.store.redis import RedisBuckets
from redis.asyncio import Redis

from tests.integration.limiter.serving import text

SECOND_US = 1_000_000
START_US = 1_772_323_199_000_000  # one second before the end of a February
END_US = 2**52  # in 2112; the scripts count exactly until 2255
PERIODS = [
    Period(us=1_000),
    Period(us=SECOND_US),
    Period(us=7 * SECOND_US),
    Period(us=60 * SECOND_US),
    Period(us=3_600 * SECOND_US),
    Period(us=DAY_US),
    Period(us=WEEK_US),
    Period(us=3 * WEEK_US),
    Period(months=1),
    Period(months=5),
    Period(months=12),
    Period(months=120),
]


def random_gcra(rng: random.Random) -> Params:
    while True:
        limit = rng.choice([1, 2, 3, 7, 130, 1_000, 99_991, 10**9, rng.randint(1, 10**6)])
        period_us = rng.choice([1_000, SECOND_US, 7 * SECOND_US, 60 * SECOND_US, 86_399 * SECOND_US, 365 * DAY_US])
        params = Gcra(limit, period_us, rng.choice([1, limit, 2 * limit, rng.randint(1, limit)]))
        if params.exact:
            return params


def random_fixed_window(rng: random.Random) -> Params:
    return FixedWindow(rng.choice([1, 2, 5, 1_000, 10**12]), rng.choice(PERIODS), rng.random() < 0.5)


def random_log(rng: random.Random) -> Params:
    period_us = rng.choice([1_000, SECOND_US, 7 * SECOND_US, 60 * SECOND_US, 365 * DAY_US])
    return SlidingWindowLog(rng.choice([1, 2, 5, 30, 1_000]), period_us)


def random_counter(rng: random.Random) -> Params:
    limit = rng.choice([1, 2, 7, 1_000, 99_991, 10**12, rng.randint(1, 10**6)])
    period_us = rng.choice([1_000, SECOND_US, 7 * SECOND_US, 86_399 * SECOND_US, 365 * DAY_US])
    return SlidingWindowCounter(limit, period_us)


def random_token_bucket(rng: random.Random) -> Params:
    limit = rng.choice([1, 2, 7, 1_000, 10**12, rng.randint(1, 10**6)])
    period_us = rng.choice([1_000, SECOND_US, 7 * SECOND_US, 86_399 * SECOND_US, 365 * DAY_US])
    return TokenBucket(limit, period_us, rng.choice([1, limit, 3 * limit, limit // 2 + 1, 70 * limit]))


def random_leaky_bucket(rng: random.Random) -> Params:
    while True:
        limit = rng.choice([1, 2, 3, 7, 130, 1_000, 99_991, rng.randint(1, 10**6)])
        period_us = rng.choice([1_000, SECOND_US, 7 * SECOND_US, 60 * SECOND_US, 86_399 * SECOND_US])
        params = LeakyBucket(limit, period_us, rng.choice([1, 2, 10, limit, rng.randint(1, limit)]))
        if params.exact:
            return params


def random_concurrency(rng: random.Random) -> Params:
    return Concurrency(rng.choice([1, 2, 5, 30, 1_000]), rng.choice([1_000, SECOND_US, 60 * SECOND_US]))


def random_adaptive(rng: random.Random) -> Params:
    least = rng.choice([1, 2, 5])
    latency_us = rng.choice([0, 1_000, SECOND_US, LEARN, LEARN])
    return Adaptive(least, least + rng.choice([0, 1, 30]), rng.choice([1_000, SECOND_US, 60 * SECOND_US]), latency_us)


def random_breaker(rng: random.Random) -> Params:
    window_us = rng.choice([SECOND_US, 60 * SECOND_US])
    return CircuitBreaker(rng.choice([1, 50, 100]), rng.choice([1, 3, 20]), window_us, SECOND_US, rng.choice([1, 2, 5]))


ALL = [
    random_gcra,
    random_token_bucket,
    random_fixed_window,
    random_counter,
    random_log,
    random_leaky_bucket,
    random_concurrency,
    random_adaptive,
    random_breaker,
]
NAMES = [
    "gcra",
    "token_bucket",
    "fixed_window",
    "sliding_window_counter",
    "sliding_window_log",
    "leaky_bucket",
    "concurrency",
    "adaptive",
    "circuit_breaker",
    "mixed",
]
KINDS = [Kind.OK, Kind.OK, Kind.OVERLOAD, Kind.FAILURE, Kind.IGNORED]


def random_feedback(rng: random.Random) -> Feedback:
    """What an upstream may say; mostly that all is well."""
    kind = rng.choice(KINDS)
    block_us = rng.choice([0, 0, 0, 1, rng.randint(1, 3 * SECOND_US)])
    return Feedback(
        kind,
        block_us,
        rng.choice([None, None, 0, 1, 50]),
        None,
        None,
        rng.choice([None, 500, 10**7, rng.randint(1, 10**6), 86_400 * SECOND_US]),
    )


def random_terms(rng: random.Random, holder: str) -> Terms:
    """Mostly none, if nothing has to be held."""
    if not holder and rng.random() < 0.5:
        return PLAIN
    wait_us = rng.choice([0, 0, 1, SECOND_US, rng.randint(0, 60 * SECOND_US)])
    return Terms(wait_us, rng.random() < 0.3, holder, rng.choice([1, SECOND_US, 60 * SECOND_US]) if holder else 0)


@dataclass
class Walk:
    """Random steps over a few buckets, in time that mostly goes on."""

    rng: random.Random
    draw: Callable[[random.Random], Params]
    now_us: int = START_US
    round: int = 0
    rules: list[Rule] = field(default_factory=list)
    states: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        on_trial = [self.rng.random() < 0.2 for _ in range(4)]
        self.rules = [
            Rule("walk", f"rule-{n}", (), self.draw(self.rng), shadow=on_trial[n], count_denied=self.rng.random() < 0.2)
            for n in range(4)
        ]

    def step(self) -> Ask:
        """Let time pass, change a limit now and then, and ask some buckets for permits."""
        if self.now_us > END_US:
            self.now_us, self.states, self.round = START_US, {}, self.round + 1
        self.now_us += self.rng.choice([0, 1, -1, self.rng.randint(-5 * SECOND_US, 0), *self.jumps()])
        if self.rng.random() < 0.2:
            index = self.rng.randrange(len(self.rules))
            self.rules[index] = self.changed(self.rules[index])
        return self.ask(self.rng.sample(self.rules, self.rng.randint(1, len(self.rules))))

    def again(self, ask: Ask) -> Ask:
        """Another request at the same instant, for some of the same buckets."""
        rules = [bucket.rule for bucket in ask.buckets]
        return self.ask(self.rng.sample(rules, self.rng.randint(1, len(rules))))

    def ask(self, rules: list[Rule]) -> Ask:
        """A request for some permits, mostly few."""
        most = min(rule.params.capacity for rule in rules)
        permits = min(most, self.rng.choice([1, 1, 1, 2, most, self.rng.randint(1, most)]))
        mode = self.rng.choice([Mode.TAKE, Mode.TAKE, Mode.TAKE, Mode.LOOK])
        shadows = [index for index, rule in enumerate(rules) if rule.shadow]
        held = any(isinstance(rule.params, HELD) for rule in rules) or self.rng.random() < 0.2
        holder = f"holder-{self.rng.randrange(10**6)}" if held and mode is Mode.TAKE else ""
        ask = Ask(0, mode, permits, [Bucket(self.key(rule), rule) for rule in rules], shadows)
        ask.terms = random_terms(self.rng, holder)
        return ask

    def key(self, rule: Rule) -> str:
        """Where the rule's bucket is; another place after each start over."""
        return f"{{hw:0}}:lim:walk-{self.round}:{rule.id}"

    def jumps(self) -> list[int]:
        """Ways ahead; some land exactly on the instant at which something changes."""
        ahead = [self.rng.randint(0, 3 * SECOND_US), self.rng.randint(0, 40 * DAY_US), self.rng.randint(0, 60_000_000)]
        for rule in self.rules:
            state = self.states.get(self.key(rule))
            if state is not None:
                outcome = decide([(state, rule.params)], rule.params.capacity, Mode.LOOK, self.now_us)[1][0]
                ahead += [outcome.retry_after_us, max(0, outcome.retry_after_us - 1)]
        return ahead

    def changed(self, rule: Rule) -> Rule:
        """The same bucket under another limit."""
        params = self.draw(self.rng)
        if isinstance(params, FixedWindow) and isinstance(rule.params, FixedWindow):
            params = FixedWindow(params.limit, rule.params.period, rule.params.first_hit)
        if isinstance(params, SlidingWindowCounter) and isinstance(rule.params, SlidingWindowCounter):
            params = SlidingWindowCounter(params.limit, rule.params.period_us)
        return Rule(rule.namespace, rule.name, rule.match, params, shadow=rule.shadow, count_denied=rule.count_denied)


def decided(ask: Ask, known: Sequence[State], now_us: int) -> Decided:
    """By the specification."""
    return decide(known, ask.permits, ask.mode, now_us, ask.shadows, ask.terms, ask.counting)


@pytest.mark.parametrize("draw", [*ALL, lambda rng: rng.choice(ALL)(rng)], ids=NAMES)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_thousand_random_steps_have_the_same_outcome_and_state(
    redis: Redis, draw: Callable[[random.Random], Params], seed: int
) -> None:
    walk = Walk(random.Random(seed), draw)
    store = RedisBuckets(redis, timeout_s=10, now_us=lambda: walk.now_us)
    for number in range(1_000):
        ask = walk.step()
        keys = [bucket.key for bucket in ask.buckets]
        known = [(walk.states.get(bucket.key), bucket.rule.params) for bucket in ask.buckets]
        answer, outcomes, after, permits, wait_us = decided(ask, known, walk.now_us)
        verdict = (await store.decide([ask]))[0]
        told = verdict.answer, list(verdict.outcomes), verdict.permits, verdict.wait_us
        assert told == (answer, list(outcomes), permits, wait_us), f"step {number}: {ask} {known}"
        walk.states.update(zip(keys, after, strict=True))
        stored = [value if value is None else text(value) for value in await redis.mget(keys)]
        assert stored == after, f"step {number}: {ask} {known}"


@pytest.mark.parametrize("seed", [4, 5])
@pytest.mark.parametrize("draw", [*ALL, lambda rng: rng.choice(ALL)(rng)], ids=NAMES)
async def test_a_batch_is_decided_as_its_requests_one_after_the_other(
    redis: Redis, draw: Callable[[random.Random], Params], seed: int
) -> None:
    walk = Walk(random.Random(seed), draw)
    store = RedisBuckets(redis, timeout_s=10, now_us=lambda: walk.now_us)
    for number in range(600):
        first = walk.step()
        asks = [first, *(walk.again(first) for _ in range(walk.rng.randint(1, 9)))]
        expected = []
        for ask in asks:
            known = [(walk.states.get(bucket.key), bucket.rule.params) for bucket in ask.buckets]
            answer, outcomes, after, *_ = decided(ask, known, walk.now_us)
            walk.states.update(zip((bucket.key for bucket in ask.buckets), after, strict=True))
            expected.append((answer, list(outcomes)))
        verdicts = await store.decide(asks)
        assert [(verdict.answer, list(verdict.outcomes)) for verdict in verdicts] == expected, f"batch {number}: {asks}"
        keys = [bucket.key for bucket in first.buckets]
        stored = [value if value is None else text(value) for value in await redis.mget(keys)]
        assert stored == [walk.states.get(key) for key in keys], f"batch {number}: {asks}"


@pytest.mark.parametrize("seed", [6, 7, 8])
@pytest.mark.parametrize("draw", [*ALL, lambda rng: rng.choice(ALL)(rng)], ids=NAMES)
async def test_memory_answers_as_redis_does_with_grants_and_reports_too(
    redis: Redis, draw: Callable[[random.Random], Params], seed: int
) -> None:
    walk = Walk(random.Random(seed), draw)
    store = RedisBuckets(redis, timeout_s=10, now_us=lambda: walk.now_us)
    memory = MemoryBuckets(now_us=lambda: walk.now_us)
    grants: list[tuple[str, str]] = []
    for number in range(600):
        ask = walk.step()
        if ask.terms.holder or walk.rng.random() < 0.5:
            ask.record = f"{{hw:0}}:lim:t:grant:{walk.round}-{ask.terms.holder or walk.rng.randrange(5)}"
            ask.fingerprint = walk.rng.choice("ab") * 32
            ask.mode = walk.rng.choice([ask.mode, ask.mode, ask.mode, Mode.RECALL])
        keys = [bucket.key for bucket in ask.buckets]
        verdicts = await store.decide([ask]), await memory.decide([ask])
        assert verdicts[0] == verdicts[1], f"step {number}: {ask}"
        if ask.record:
            grants = [*grants[-5:], (ask.record, ask.terms.holder)]
        if grants and walk.rng.random() < 0.5:
            what = (*walk.rng.choice(grants),)
            operation, permits = walk.rng.choice(list(Operation)), walk.rng.choice([0, 1, ask.permits, 3])
            settled = [await each.settle(what[0], operation, permits, what[1]) for each in (store, memory)]
            assert settled[0] == settled[1], f"step {number}: {operation} {what} {permits}"
        if walk.rng.random() < 0.3:
            feedback = random_feedback(walk.rng)
            learned = [await each.report(ask.buckets, feedback) for each in (store, memory)]
            assert learned[0] == learned[1], f"step {number}: {feedback} {ask}"
        states = [value if value is None else text(value) for value in await redis.mget(keys)]
        assert states == [memory._states.get(key) for key in keys], f"step {number}: {ask}"
