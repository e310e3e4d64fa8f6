"""What the order of a shard promises, whatever happens in whatever order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

import pytest
from headworks_scheduler.domain.order import STRIDE, Race, Ready, ShardOrder
from hypothesis import given, settings
from hypothesis import strategies as st

WEIGHTS_MAX = 1_000
TENANTS, LANES = ("ann", "bob", "cy"), ("", "a", "b:c")
weights_of = st.dictionaries(st.sampled_from([*TENANTS, *LANES]), st.integers(1, WEIGHTS_MAX))
places = st.tuples(st.integers(0, 2), st.sampled_from(TENANTS), st.sampled_from(LANES))
turns = st.lists(st.one_of(places, st.just("claim"), st.just("claim"), st.integers(0, 9)), max_size=80)
"""A job that comes, a claim, or a job that leaves unclaimed."""


@dataclass
class Shard:
    """An order, beside a plain set of what is in it."""

    order: ShardOrder
    waiting: set[Ready] = field(default_factory=set)
    seqs: count[int] = field(default_factory=lambda: count(1))

    def add(self, level: int, tenant: str, lane: str) -> Ready:
        """The next job of a lane."""
        seq = next(self.seqs)
        ready = Ready(level, tenant, lane, seq, f"job{seq}")
        self.order.add(ready)
        self.waiting.add(ready)
        return ready

    def claim(self) -> Ready | None:
        """The next job to run."""
        job = self.order.claim()
        self.waiting.discard(job) if job else None
        return job

    def take(self, turn: object) -> Ready | None:
        """One of `turns`; what it claimed."""
        if turn == "claim":
            return self.claim()
        if isinstance(turn, tuple):
            self.add(*turn)
        elif self.waiting:
            leaving = sorted(self.waiting)[int(str(turn)) % len(self.waiting)]
            self.order.remove(leaving)
            self.waiting.discard(leaving)
        return None


def shard(tenants: Mapping[str, int] | None = None, lanes: Mapping[str, int] | None = None) -> Shard:
    """An empty shard with these weights."""
    return Shard(ShardOrder(tenants or {}, lanes or {}))


@given(turns, weights_of)
def test_the_most_urgent_level_always_goes_first(turns: list[object], weights: dict[str, int]) -> None:
    of = shard(weights, weights)
    for turn in turns:
        levels = {job.level for job in of.waiting}
        claimed = of.take(turn)
        assert claimed is None or claimed.level == min(levels)


@given(turns, weights_of)
def test_a_lane_is_first_in_first_out(turns: list[object], weights: dict[str, int]) -> None:
    of = shard(weights, weights)
    for turn in turns:
        before = set(of.waiting)
        claimed = of.take(turn)
        if claimed:
            lane = [job.seq for job in before if job[:3] == claimed[:3]]
            assert claimed.seq == min(lane)


@given(turns, weights_of)
def test_every_job_is_claimed_once_and_nothing_is_left(turns: list[object], weights: dict[str, int]) -> None:
    of = shard(weights, weights)
    for turn in turns:
        waiting = len(of.waiting)
        claimed = of.take(turn)
        assert (claimed is not None) == (turn == "claim" and waiting > 0)
    while of.waiting:
        assert of.claim()
    assert of.claim() is None
    assert of.order.levels == {}


def test_a_job_that_comes_back_keeps_its_place_in_its_lane() -> None:
    of = shard()
    first = of.add(5, "ann", "a")
    of.add(5, "ann", "a")
    assert of.claim() == first
    of.order.add(first)
    assert of.claim() == first


@given(
    st.dictionaries(st.sampled_from(["t1", "t2", "t3", "t4", "t5"]), st.integers(1, WEIGHTS_MAX)), st.integers(1, 2_000)
)
def test_with_a_backlog_shares_follow_the_strides_to_within_a_job(weights: dict[str, int], turns: int) -> None:
    """Each competitor pays STRIDE // weight for a job; its share of the turns is 1 / that."""
    names = ["t1", "t2", "t3", "t4", "t5"]
    race: Race[None] = Race()
    for name in names:
        race.enter(name, None)
    served: Counter[str] = Counter()
    for _ in range(turns):
        name = race.least()
        race.serve(name, weights)
        served[name] += 1
    rates = {name: 1 / (STRIDE // weights.get(name, 1)) for name in names}
    for name in names:
        share = rates[name] / sum(rates.values())
        assert -share * len(names) - 1e-6 <= served[name] - turns * share <= 1 + 1e-6


def test_whole_strides_keep_the_weights_to_within_7_percent() -> None:
    assert max(STRIDE / weight / (STRIDE // weight) for weight in range(1, WEIGHTS_MAX + 1)) < 1.07


@given(turns, weights_of)
def test_leaving_and_coming_back_never_gains(turns: list[object], weights: dict[str, int]) -> None:
    """While anybody competes, one that comes back stands at least where it stood when it left."""
    race: Race[None] = Race()
    left_at: dict[str, int] = {}
    for turn in turns:
        if isinstance(turn, tuple) and turn[1] not in race.running:
            race.enter(turn[1], None)
            assert race.running[turn[1]].passed >= left_at.get(turn[1], 0)
        elif turn == "claim" and race.running:
            race.serve(race.least(), weights)
        elif isinstance(turn, int) and race.running:
            name = sorted(race.running)[turn % len(race.running)]
            left_at[name] = race.running[name].passed
            race.leave(name)
            left_at = left_at if race.running else {}


@given(turns, weights_of)
def test_the_virtual_time_stays_near_the_passes_that_are_served(turns: list[object], weights: dict[str, int]) -> None:
    race: Race[None] = Race()
    for turn in turns:
        if isinstance(turn, tuple):
            race.enter(turn[1], None)
        elif turn == "claim" and race.running:
            name, before = race.least(), race.virtual
            passed = race.running[name].passed
            race.serve(name, weights)
            assert before <= race.virtual
            assert passed <= race.virtual <= passed + STRIDE
        elif isinstance(turn, int) and race.running:
            race.leave(sorted(race.running)[turn % len(race.running)])


@settings(max_examples=50)
@given(
    st.lists(st.integers(1, WEIGHTS_MAX), min_size=1, max_size=6),
    st.integers(0, 300),
    st.integers(1, 3),
    st.integers(1, WEIGHTS_MAX),
)
def test_nobody_waits_more_than_five_times_the_weights_in_turns_though_others_keep_coming(
    backlogs: list[int], history: int, newcomers: int, weight: int
) -> None:
    """Before every turn newcomers with names that go first arrive; each has one job."""
    weights = {"m": weight} | {f"z{n}": of for n, of in enumerate(backlogs)}
    race: Race[None] = Race()
    for n in range(len(backlogs)):
        race.enter(f"z{n}", None)
    for _ in range(history):
        race.serve(race.least(), weights)
    race.enter("m", None)
    heaviest = 0
    for turn in count(1):
        if turn % newcomers == 0:
            race.enter(f"a{turn:06}", None)
        heaviest = max(heaviest, sum(weights.get(name, 1) for name in race.running))
        served = race.least()
        race.serve(served, weights)
        if served == "m":
            break
        if served.startswith("a"):
            race.leave(served)
        assert turn < 5 * heaviest


@pytest.mark.parametrize("weight", [1, 10, 1_000])
def test_a_newcomer_does_not_pay_for_what_others_had_before_it_came(weight: int) -> None:
    of = shard({"ann": weight, "bob": weight, "cy": weight})
    for _ in range(2_000):
        of.add(5, "ann", "")
        of.add(5, "bob", "")
    for _ in range(3_000):
        of.claim()
    of.add(5, "cy", "")
    assert "cy" in [job.tenant for job in (of.claim() for _ in range(4)) if job]


def test_one_busy_lane_takes_no_turns_from_other_tenants() -> None:
    of = shard()
    for _ in range(10):
        of.add(5, "ann", "")
    for lane in LANES:
        of.add(5, "bob", lane)
    claimed = [job.tenant for job in (of.claim() for _ in range(6)) if job]
    assert claimed == ["ann", "bob"] * 3


def test_a_cancelled_job_costs_its_lane_nothing() -> None:
    of = shard()
    cancelled = of.add(5, "ann", "a")
    of.add(5, "ann", "b")
    of.add(5, "ann", "a")
    of.take(sorted(of.waiting).index(cancelled))
    assert [job.lane for job in (of.claim(), of.claim()) if job] == ["a", "b"]
