"""Which job is next: the specification that `store/scripts/claim.lua` must equal.

Inside a shard: lowest level -> tenant with the least pass -> its lane with the least pass -> lowest `seq`; equal passes
go by name. Passes are stride scheduling with weights, one pass space per level for tenants and one per (level, tenant)
for lanes.

Source: C. Waldspurger and W. Weihl, "Stride Scheduling: Deterministic Proportional-Share Resource Management", 1995.
Departure: the global pass, here the virtual time, stays between the pass that was just served and one STRIDE beyond it,
and moves at least by 1 a turn. So nobody who enters is kept waiting for what others have had before, and newcomers, be
they ever so many, come behind those who wait. With W the weights of all who compete, a competitor is served within
5 * W turns of its race.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

STRIDE = 16_384
"""What a competitor of weight 1 pays for one job; 2**53 is reached after 5 * 10**11 of them in one busy period."""

Member = TypeVar("Member")


class Ready(NamedTuple):
    """A job in its place."""

    level: int
    tenant: str
    lane: str
    seq: int
    job: str


@dataclass
class Competitor(Generic[Member]):
    """One tenant or lane that has work, with the pass at which it is served next."""

    member: Member
    passed: int


@dataclass
class Race(Generic[Member]):
    """Competitors for one thing.

    One that leaves and comes back before the virtual time has reached its pass finds its pass again, so leaving never
    gains anything; otherwise it starts at the virtual time. When the last one leaves, everything is forgotten.
    """

    virtual: int = 0
    running: dict[str, Competitor[Member]] = field(default_factory=dict)
    resting: dict[str, int] = field(default_factory=dict)

    def enter(self, name: str, member: Member) -> Member:
        """Let `name` compete, if it does not already; gives what stands for it."""
        if name not in self.running:
            self.running[name] = Competitor(member, max(self.virtual, self.resting.pop(name, 0)))
        return self.running[name].member

    def leave(self, name: str) -> None:
        """Take `name` out."""
        self.resting[name] = self.running.pop(name).passed
        if not self.running:
            self.virtual = 0
            self.resting.clear()

    def least(self) -> str:
        """Whose turn it is."""
        return min(self.running, key=lambda name: (self.running[name].passed, name))

    def serve(self, name: str, weights: Mapping[str, int]) -> None:
        """Charge `name` for one job and move the virtual time."""
        served = self.running[name]
        step = STRIDE // sum(weights.get(other, 1) for other in self.running)
        self.virtual = max(served.passed, min(self.virtual + max(step, 1), served.passed + STRIDE))
        served.passed += STRIDE // weights.get(name, 1)


Lane = list[tuple[int, str]]
Lanes = Race[Lane]


@dataclass
class ShardOrder:
    """The ready jobs of one shard, in order."""

    tenant_weights: Mapping[str, int] = field(default_factory=dict)
    lane_weights: Mapping[str, int] = field(default_factory=dict)
    levels: dict[int, Race[Lanes]] = field(default_factory=dict)

    def add(self, ready: Ready) -> None:
        """A job becomes ready."""
        tenants = self.levels.setdefault(ready.level, Race())
        lanes = tenants.enter(ready.tenant, Race())
        insort(lanes.enter(ready.lane, []), (ready.seq, ready.job))

    def remove(self, ready: Ready) -> None:
        """A job that is not claimed leaves its lane (cancelled, expired)."""
        lane = self.levels[ready.level].running[ready.tenant].member.running[ready.lane].member
        lane.remove((ready.seq, ready.job))
        self._tidy(ready.level, ready.tenant, ready.lane)

    def claim(self) -> Ready | None:
        """Take the next job; None when nothing is ready."""
        if not self.levels:
            return None
        level = min(self.levels)
        tenants = self.levels[level]
        tenant = tenants.least()
        lanes = tenants.running[tenant].member
        lane = lanes.least()
        seq, job = lanes.running[lane].member.pop(0)
        tenants.serve(tenant, self.tenant_weights)
        lanes.serve(lane, self.lane_weights)
        self._tidy(level, tenant, lane)
        return Ready(level, tenant, lane, seq, job)

    def _tidy(self, level: int, tenant: str, lane: str) -> None:
        tenants = self.levels[level]
        lanes = tenants.running[tenant].member
        if not lanes.running[lane].member:
            lanes.leave(lane)
        if not lanes.running:
            tenants.leave(tenant)
        if not tenants.running:
            del self.levels[level]
