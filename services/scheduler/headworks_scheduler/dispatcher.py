"""The dispatcher: gives ready jobs to sessions with free slots, as soon as there are both.

A queue is `busy` for this replica from a wake-up until a claim got less than it asked for; the claim has then
registered the replica as a waiter. Credit is reserved before the claim, so no session is ever sent more than it
announced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog
from headworks_core.errors import ServiceError
from headworks_core.names import parse_job

from headworks_scheduler.domain.jobs import Claimed, Release
from headworks_scheduler.domain.matching import Order, Seat, plan
from headworks_scheduler.queues import Queues
from headworks_scheduler.store.jobs import BATCH_MAX, JobStore

log = structlog.get_logger(__name__)

STORE_PAUSE_S = 0.2  # between tries while the store fails
CLAIM_MAX = 200  # jobs a claim: enough to make its cost per job small, few enough that claims, runs and results overlap


@dataclass
class DispatcherCounters:
    """What the dispatcher has seen since it started."""

    claimed: int = 0
    lost_wakeups: int = 0
    handovers: int = 0
    returned: int = 0
    failed_claims: int = 0


class SessionSeat(Seat):
    """A seat with a way to hand jobs to its session."""

    def __init__(
        self, worker: str, queues: Sequence[tuple[str, int]], order: Order, assign: Callable[[list[Claimed]], None]
    ) -> None:
        super().__init__(worker, queues, order)
        self.assign = assign
        self.open = True


class Dispatcher:
    """Matches the queues of this replica with its sessions."""

    def __init__(self, store: JobStore, queues: Queues) -> None:
        self._store = store
        self._queues = queues
        self._seats: dict[SessionSeat, None] = {}
        self._busy: set[str] = set()
        self._swept: set[str] = set()
        """Queues that are busy only because of a sweep: a claim that finds jobs repairs a lost wake-up."""
        self._asking = ""
        """The queue of the claim that is under way."""
        self._turn = asyncio.Event()
        self.counters = DispatcherCounters()

    def attach(self, seat: SessionSeat) -> None:
        """A session begins; whether its queues have work is found out by asking."""
        self._seats[seat] = None
        self._busy.update(queue for queue, _ in seat.queues)
        self._turn.set()

    def detach(self, seat: SessionSeat) -> None:
        """A session takes no more work."""
        seat.open = False
        self._seats.pop(seat, None)

    def credit(self, seat: SessionSeat, slots: int) -> None:
        """A session has announced free slots."""
        seat.credit += slots
        self._turn.set()

    async def wake(self, queue: str) -> None:
        """The store says that `queue` has work, and has told only this replica."""
        self._busy.add(queue)
        self._swept.discard(queue)
        if any(seat.credit and queue in dict(seat.queues) for seat in self._seats):
            self._turn.set()
        else:
            self.counters.handovers += 1
            await self._store.handover(queue)

    async def sweep(self) -> None:
        """Look once at queues that are thought to be empty: a wake-up may have been lost."""
        for seat in self._seats:
            if seat.credit:
                self._swept.update(queue for queue, _ in seat.queues if queue not in {*self._busy, self._asking})
        self._busy |= self._swept
        self._turn.set()

    def unsure(self) -> None:
        """Messages may have been missed: ask every queue."""
        self._busy.update(queue for seat in self._seats for queue, _ in seat.queues)
        self._turn.set()

    async def run(self) -> None:
        """Dispatch until cancelled."""
        while True:
            await self._turn.wait()
            self._turn.clear()
            while shares := plan(self._seats, self._busy, CLAIM_MAX):
                for queue, share in shares.items():
                    await self._serve(queue, share)
                self._rotate()

    def _rotate(self) -> None:
        """Begin with another session next time."""
        if len(self._seats) > 1:
            first = next(iter(self._seats))
            del self._seats[first]
            self._seats[first] = None

    async def _serve(self, queue: str, shares: Sequence[tuple[Seat, int]]) -> None:
        for seat, count in shares:
            seat.credit -= count
        self._busy.discard(queue)  # a wake-up that comes during the claim sets it again
        swept = queue in self._swept
        self._swept.discard(queue)
        self._asking = queue
        try:
            claimed = await self._store.claim(self._queues.get(queue), [(seat.worker, n) for seat, n in shares])
        except ServiceError as error:
            self.counters.failed_claims += 1
            log.warning("dispatcher.claim_failed", queue=queue, error=str(error))
            self._give_back(shares)
            self._busy.add(queue)
            await asyncio.sleep(STORE_PAUSE_S)
            return
        finally:
            self._asking = ""
        self._count(queue, len(claimed), swept=swept)
        if len(claimed) == sum(count for _, count in shares):
            self._busy.add(queue)
        await self._deal(claimed, shares)

    def _count(self, queue: str, claimed: int, *, swept: bool) -> None:
        self.counters.claimed += claimed
        if swept and claimed:
            self.counters.lost_wakeups += 1
            log.warning("dispatcher.lost_wakeup_repaired", queue=queue, jobs=claimed)

    def _give_back(self, shares: Sequence[tuple[Seat, int]]) -> None:
        for seat, count in shares:
            seat.credit += count

    async def _deal(self, claimed: list[Claimed], shares: Sequence[tuple[Seat, int]]) -> None:
        """Hand out what was claimed; the script has leased it to the workers in this order."""
        at = 0
        orphans: list[Claimed] = []
        for seat, count in shares:
            dealt = claimed[at : at + count]
            at += count
            seat.credit += count - len(dealt)
            if not dealt:
                continue
            if isinstance(seat, SessionSeat) and seat.open:
                seat.assign(dealt)
            else:
                orphans += dealt
        if orphans:
            await self.give_up(orphans)

    async def give_up(self, orphans: Sequence[Claimed]) -> None:
        """Put back jobs whose session ended before they were sent."""
        await self.give_back([(job.name, job.lease_id) for job in orphans])

    async def give_back(self, leases: Collection[tuple[str, int]]) -> None:
        """Put back jobs, by name and lease_id, that no worker runs."""
        self.counters.returned += len(leases)
        cells: dict[int, list[Release]] = {}
        for job, lease_id in leases:
            name = parse_job(job)
            cells.setdefault(name.cell, []).append(Release(name.ref, lease_id))
        for cell, releases in cells.items():
            for at in range(0, len(releases), BATCH_MAX):
                try:
                    await self._store.release(cell, releases[at : at + BATCH_MAX])
                except ServiceError as error:  # the leases end by themselves after the delivery time
                    log.warning("dispatcher.release_failed", jobs=len(releases) - at, error=str(error))
                    break
