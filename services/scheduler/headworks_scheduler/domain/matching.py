"""Which session gets how much of which queue."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

_STRIDE = 1_000_000


class Order(Enum):
    """How a worker with several queues is served."""

    WEIGHTED = "weighted"
    STRICT = "strict"


@dataclass(eq=False)
class Seat:
    """A session as the dispatcher sees it: its free slots, and the queues it serves with their weights."""

    worker: str
    queues: Sequence[tuple[str, int]]
    order: Order = Order.WEIGHTED
    credit: int = 0
    passes: dict[str, int] = field(default_factory=dict)
    virtual: int = 0
    """The least pass among the queues that had work last time."""

    def wishes(self, busy: Container[str], limit: int) -> dict[str, int]:
        """How many jobs it would take of each busy queue now, at most `limit` in all.

        WEIGHTED: queues with work take turns by stride scheduling; one that had none meanwhile starts level with the
        others. STRICT: everything from the first busy queue of the list.
        """
        open_queues = [(name, weight) for name, weight in self.queues if name in busy]
        wanted = min(self.credit, limit)
        if not open_queues or wanted == 0:
            return {}
        if self.order is Order.STRICT or len(open_queues) == 1:
            return {open_queues[0][0]: wanted}
        passes = {name: max(self.passes.get(name, 0), self.virtual) for name, _ in open_queues}
        taken = dict.fromkeys(passes, 0)
        for _ in range(wanted):
            name, weight = min(open_queues, key=lambda queue: passes[queue[0]])
            passes[name] += _STRIDE // weight
            taken[name] += 1
        self.passes |= passes
        self.virtual = min(passes.values())
        return {name: count for name, count in taken.items() if count}


def plan(seats: Iterable[Seat], busy: Container[str], limit: int) -> dict[str, list[tuple[Seat, int]]]:
    """For each busy queue, the sessions to serve and how many jobs for each; at most `limit` jobs a queue."""
    shares: dict[str, list[tuple[Seat, int]]] = {}
    room: dict[str, int] = {}
    for seat in seats:
        for queue, count in seat.wishes(busy, limit).items():
            granted = min(count, room.setdefault(queue, limit))
            if granted:
                room[queue] -= granted
                shares.setdefault(queue, []).append((seat, granted))
    return shares
