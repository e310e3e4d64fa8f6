"""What one replica decides alone while the store is away."""

from __future__ import annotations

from headworks_limiter.domain.algorithms import Params
from headworks_limiter.domain.ask import Ask
from headworks_limiter.domain.concurrency import Concurrency
from headworks_limiter.domain.decision import Answer, Mode
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.leaky_bucket import LeakyBucket
from headworks_limiter.domain.periods import Period
from headworks_limiter.domain.rule import Bucket, OnStoreFailure, Rule
from headworks_limiter.store.local import LocalBuckets

SECOND_US = 1_000_000
NOW_US = 1_772_323_200_000_000
TEN_A_SECOND = Gcra(10, SECOND_US, 10)
WINDOW = FixedWindow(12, Period(us=60 * SECOND_US))


def bucket(key: str, params: Params = TEN_A_SECOND, wish: OnStoreFailure = OnStoreFailure.LOCAL) -> Bucket:
    return Bucket(key, Rule("api", key, (), params, wish))


def ask(*buckets: Bucket, permits: int = 1, mode: Mode = Mode.TAKE) -> Ask:
    return Ask(0, mode, permits, buckets)


def alone(replicas: int = 1, max_buckets: int = 100) -> LocalBuckets:
    return LocalBuckets(replicas=replicas, max_buckets=max_buckets, now_us=lambda: NOW_US)


def test_a_replica_grants_its_share_of_the_limit() -> None:
    local = alone(replicas=3)
    answers = [local.decide(ask(bucket("a"), bucket("b", WINDOW))).answer for _ in range(4)]
    assert answers == [Answer.ALLOWED] * 3 + [Answer.REFUSED]


def test_what_it_says_is_marked_as_degraded_and_of_its_share() -> None:
    verdict = alone(replicas=2).decide(ask(bucket("a")))
    assert verdict.degraded
    assert verdict.permits == 1
    assert verdict.outcomes == [(True, 4, 200_000, 0)]


def test_a_share_is_at_least_one_permit() -> None:
    local = alone(replicas=100)
    assert local.decide(ask(bucket("a"))).allowed
    assert not local.decide(ask(bucket("a"))).allowed


def test_more_than_a_share_can_hold_is_a_store_failure() -> None:
    verdict = alone(replicas=2).decide(ask(bucket("a"), permits=6))
    assert (verdict.answer, verdict.outcomes) == (Answer.STORE_FAILURE, ())


def test_one_refusal_takes_from_no_bucket() -> None:
    local = alone()
    tight = bucket("tight", FixedWindow(1, Period(us=SECOND_US)))
    assert local.decide(ask(bucket("a"), tight)).allowed
    assert not local.decide(ask(bucket("a"), tight)).allowed
    assert local.decide(ask(bucket("a"), mode=Mode.LOOK)).outcomes[0].remaining == 9


def test_a_look_keeps_nothing() -> None:
    local = alone()
    verdict = local.decide(ask(bucket("a"), mode=Mode.LOOK))
    assert (verdict.allowed, verdict.permits, len(local)) == (True, 0, 0)


def test_only_rules_that_want_it_are_asked() -> None:
    free = bucket("free", FixedWindow(1, Period(us=SECOND_US)), OnStoreFailure.ALLOW)
    local = alone()
    verdicts = [local.decide(ask(bucket("a"), free)) for _ in range(3)]
    assert all(verdict.allowed for verdict in verdicts)
    assert [shown.key for shown in verdicts[0].buckets] == ["a"]


def test_the_bucket_asked_least_recently_is_forgotten_first() -> None:
    local = alone(max_buckets=2)
    for key in ("a", "b", "a", "c"):
        local.decide(ask(bucket(key)))
    assert len(local) == 2
    assert local.decide(ask(bucket("a"), mode=Mode.LOOK)).outcomes[0].remaining == 8
    assert local.decide(ask(bucket("b"), mode=Mode.LOOK)).outcomes[0].remaining == 10


def test_lines_say_when_and_slots_end_by_themselves_here_too() -> None:
    local = alone(replicas=2)
    line = bucket("line", LeakyBucket(2, SECOND_US, 6))
    assert [local.decide(ask(line)).wait_us for _ in range(3)] == [0, SECOND_US, 2 * SECOND_US]
    assert not local.decide(ask(line)).allowed
    slots = bucket("slots", Concurrency(4, SECOND_US))
    assert [local.decide(ask(slots)).allowed for _ in range(3)] == [True, True, False]
