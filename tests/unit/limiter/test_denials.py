"""A refusal is repeated while it is certain, and never a moment longer."""

from __future__ import annotations

from headworks_limiter.denials import MAX_REMEMBERED, Denials
from headworks_limiter.domain.ask import Ask, Verdict
from headworks_limiter.domain.decision import Mode
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.patterns import Pattern
from headworks_limiter.domain.rule import Bucket, Rule
from headworks_limiter.store.memory import MemoryBuckets
from hypothesis import given
from hypothesis import strategies as st

START_US = 1_772_323_200_000_000
PARAMS = Gcra(10, 1_000_000, 10)


class World:
    """A store and what is remembered of its refusals, on one clock. Asking takes 2 ms; the store decides halfway."""

    def __init__(self) -> None:
        self.now_us = START_US
        self.store = MemoryBuckets()
        self.denials = Denials(lambda: self.now_us / 1e6)
        self.asked = 0

    def ask(self, ask: Ask) -> Verdict:
        known = self.denials.find(ask)
        if known is not None:
            return known
        self.asked += 1
        asked_at = self.now_us / 1e6
        self.now_us += 1_000
        verdict = self.store.decide_at(ask, self.now_us)
        self.now_us += 1_000
        self.denials.note([ask], [verdict], asked_at)
        return verdict


def bucket(name: str = "a", params: Gcra = PARAMS, *, shadow: bool = False) -> Bucket:
    return Bucket(name, Rule("api", name, (("user", Pattern("*")),), params, shadow=shadow))


def test_a_refusal_is_repeated_with_the_time_that_has_passed() -> None:
    world, only = World(), bucket()
    ask = Ask(0, Mode.TAKE, 10, [only])
    assert world.ask(ask).allowed
    first = world.ask(ask)
    world.now_us += 50_000
    again = world.ask(ask)
    assert (world.asked, world.denials.answered) == (2, 1)
    assert (first.allowed, again.allowed, again.permits) == (False, False, 0)
    assert first.outcomes[0].retry_after_us - again.outcomes[0].retry_after_us == 50_000


def test_it_is_asked_again_when_it_may_be_allowed_and_after_250_ms() -> None:
    world, ask = World(), Ask(0, Mode.TAKE, 1, [bucket()])
    while world.ask(ask).allowed:
        pass
    world.now_us += 100_000  # a tenth of a second brings one
    assert world.ask(ask).allowed
    slow = Ask(0, Mode.TAKE, 1, [bucket("slow", Gcra(1, 86_400_000_000, 1))])
    assert world.ask(slow).allowed
    asked = world.asked
    for _ in range(6):
        world.ask(slow)
        world.now_us += 60_000
    assert world.asked == asked + 2


def test_a_grant_from_a_bucket_and_changed_rules_end_it() -> None:
    world, only = World(), bucket()
    three, eight, nine = (Ask(0, Mode.TAKE, permits, [only]) for permits in (3, 8, 9))
    assert world.ask(three).allowed
    assert (world.ask(eight).outcomes[0].remaining, world.ask(nine).outcomes[0].remaining) == (7, 7)
    assert world.ask(three).allowed
    assert (world.ask(eight).outcomes[0].remaining, world.ask(nine).outcomes[0].remaining) == (4, 4)
    asked = world.asked
    world.ask(eight)
    assert world.asked == asked
    world.denials.forget()
    world.ask(eight)
    assert world.asked == asked + 1


def test_other_permits_looks_ids_and_rules_on_trial_are_always_asked() -> None:
    world, only, trial = World(), bucket(), bucket("trial", shadow=True)
    world.ask(Ask(0, Mode.TAKE, 9, [only]))
    for ask in (
        Ask(0, Mode.TAKE, 2, [only], record="grant", fingerprint="f"),
        Ask(0, Mode.LOOK, 2, [only]),
        Ask(0, Mode.TAKE, 2, [only, trial], shadows=(1,)),
    ):
        asked = world.asked
        assert [world.ask(ask).permits for _ in range(3)] == [0, 0, 0]
        assert world.asked == asked + 3
    assert world.ask(Ask(0, Mode.TAKE, 1, [only])).allowed


def test_a_lowered_or_raised_limit_is_another_refusal() -> None:
    world = World()
    world.ask(Ask(0, Mode.TAKE, 10, [bucket()]))
    assert not world.ask(Ask(0, Mode.TAKE, 10, [bucket()])).allowed
    assert world.ask(Ask(0, Mode.TAKE, 10, [bucket(params=Gcra(20, 1_000_000, 20))])).allowed


def test_what_is_remembered_has_a_bound() -> None:
    world, full = World(), bucket(params=Gcra(1, 86_400_000_000, 1))
    world.ask(Ask(0, Mode.TAKE, 1, [full]))
    verdict = world.ask(Ask(0, Mode.TAKE, 1, [full]))
    asks = [Ask(0, Mode.TAKE, 1, [Bucket(f"b{number}", full.rule)]) for number in range(2 * MAX_REMEMBERED)]
    for ask in asks:
        world.denials.note([ask], [verdict], world.now_us / 1e6)
    assert len(world.denials._known) <= MAX_REMEMBERED
    assert len(world.denials._keys_of) <= MAX_REMEMBERED


steps = st.lists(st.tuples(st.integers(0, 120_000), st.integers(1, 10), st.integers(0, 1)), min_size=1, max_size=80)


@given(steps)
def test_nobody_is_refused_who_would_be_allowed_nor_told_to_come_too_early(walk: list[tuple[int, int, int]]) -> None:
    world, buckets = World(), [bucket("a"), bucket("b", Gcra(3, 200_000, 6))]
    for passed_us, permits, which in walk:
        world.now_us += passed_us
        chosen = buckets if which else buckets[:1]
        permits = min(permits, *(each.rule.params.capacity for each in chosen))
        ask = Ask(0, Mode.TAKE, permits, chosen)
        answered = world.denials.answered
        verdict = world.ask(ask)
        if world.denials.answered > answered:
            truth = world.store.decide_at(Ask(0, Mode.LOOK, permits, chosen), world.now_us)
            assert not truth.allowed
            for told, real in zip(verdict.outcomes, truth.outcomes, strict=True):
                assert told.retry_after_us >= real.retry_after_us
                assert told.retry_after_us - real.retry_after_us <= 1_000
