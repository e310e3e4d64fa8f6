"""What a worker owes its scheduler and what it may ask for: leases, results, credit. No threads, no sockets, no clock.

The rules of the session protocol live here. Whoever uses a ledger holds a lock around each call; `now` is a monotonic
time in seconds. A slot is in use from the assignment until the handler has really ended, which may be later than its
result (a thread that ran too long cannot be stopped) or without one (its lease was lost).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog
from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks_client.durations import to_seconds
from headworks_core.measures import CALL_BOUNDS_S, Distribution

log = structlog.get_logger(__name__)

Key = tuple[str, int]
"""A lease: the job's name and the fencing token."""

BATCH_MAX = 500
BATCH_BYTES = 1 << 20  # a message ends with the result that reaches this
SOON_S = 0.1  # until a new lease is confirmed and new progress is sent, if its result is not quicker
BEAT_SHARE = 0.5  # of the interval that the scheduler asked for; the rest is for delays on the way


@dataclass(slots=True)
class Held:
    """A lease that counts as ours until its result is acknowledged."""

    since: float
    progress: job_pb2.Progress | None = None
    is_news: bool = False
    """The progress was not sent yet."""
    finished: bool = False


class Ended(NamedTuple):
    """A handler's end: its result (None if there is nothing to report), and whether its slot is free with it."""

    key: Key
    result: pb.Result | None
    frees: bool = True


@dataclass(slots=True)
class SessionCounters:
    """What the sessions have seen since the start."""

    attached: bool = False
    begun: int = 0
    lost: int = 0
    """Leases."""
    late: int = 0
    """Results that were refused, as their lease was lost."""
    beat_delay: Distribution = field(default_factory=lambda: Distribution(CALL_BOUNDS_S))
    """Seconds by which full heartbeats went out late."""


class Ledger:
    """The state of one worker over all of its sessions."""

    def __init__(self, slots: int) -> None:
        self.counters = SessionCounters()
        self._slots = slots
        self._in_use = 0
        self._announced = 0
        """Credit that the present session has and has not used."""
        self._held: dict[Key, Held] = {}
        self._soon: dict[Key, float] = {}
        """When leases should be listed before the next full heartbeat; the earliest first."""
        self._results: deque[pb.Result] = deque()
        self._unacked: dict[int, list[pb.Result]] = {}
        self._batch = 0
        self._attached = False
        self._interval_s = self._lease_s = math.inf
        self._beat_at = -math.inf
        self._draining = self._drain_told = False

    # -- a session begins

    def attach(self) -> list[pb.HeldLease]:
        """What Attach lists. Nothing of an earlier session counts: its results wait again, its credit is gone."""
        self._attached = False
        self._drain_told = False
        self._announced = 0
        for results in reversed(self._unacked.values()):
            self._results.extendleft(reversed(results))
        self._unacked.clear()
        for held in self._held.values():
            held.is_news = held.progress is not None  # the last message of a session may never have arrived
        # What runs first, and never more than the slots; results of leases that are not listed follow at once as well.
        ours = sorted(self._held.items(), key=lambda item: item[1].finished)[: self._slots]
        return [_listed(key, held) for key, held in ours]

    def attached(self, message: pb.Attached, now: float) -> list[Key]:
        """The scheduler has answered; the leases that were lost meanwhile."""
        self._attached = self.counters.attached = True
        self.counters.begun += 1
        self._interval_s = to_seconds(message.heartbeat_interval)
        self._lease_s = to_seconds(message.lease)
        self._beat_at = now
        self._soon.clear()
        return self.lost(message.lost)

    # -- the scheduler says

    def assigned(self, jobs: Iterable[pb.Assignment], now: float) -> None:
        """Jobs have come."""
        for job in jobs:
            key = (job.job, job.lease_id)
            self._held[key] = Held(now)
            self._soon[key] = now + SOON_S
            self._in_use += 1
            self._announced -= 1
        if self._announced < 0:
            log.error("session.more_than_announced", jobs=-self._announced)
            self._announced = 0

    def acked(self, ack: pb.Ack) -> None:
        """A batch of results is recorded: forget it."""
        results = self._unacked.pop(ack.batch, [])
        for result in results:
            self._held.pop((result.job, result.lease_id), None)
        self.counters.late += len(ack.lost)
        for index in ack.lost:
            if index < len(results):
                log.warning(
                    "result.refused", job=results[index].job, lease_id=results[index].lease_id, why="lease lost"
                )

    def lost(self, leases: Iterable[pb.LeaseRef]) -> list[Key]:
        """These are no longer ours: the keys of those that were; results that wait to be sent are dropped."""
        ours = [key for lease in leases if (key := (lease.job, lease.lease_id)) in self._held]
        self.counters.lost += len(ours)
        for key in ours:
            held = self._held.pop(key)
            self._soon.pop(key, None)
            if held.finished:
                log.warning("result.dropped", job=key[0], lease_id=key[1], why="lease lost, or the result was recorded")
        if ours:
            self._results = deque(r for r in self._results if (r.job, r.lease_id) in self._held)
        return ours

    # -- handlers say

    def ended(self, ends: Iterable[Ended]) -> None:
        """Handlers have ended; results of leases that are no longer ours are dropped."""
        for end in ends:
            self._in_use -= end.frees
            held = self._held.get(end.key)
            if held is not None and end.result is not None:
                held.finished = True
                self._soon.pop(end.key, None)
                self._results.append(end.result)

    def freed(self) -> None:
        """A handler whose result was reported earlier has really ended."""
        self._in_use -= 1

    def progressed(self, key: Key, progress: job_pb2.Progress, now: float) -> None:
        """A handler has come further; only its last word is kept."""
        held = self._held.get(key)
        if held is not None and not held.finished:
            held.progress = progress
            held.is_news = True
            self._soon.setdefault(key, now + SOON_S)

    def drain(self) -> None:
        """Ask for no more work."""
        self._draining = True

    # -- to the scheduler

    def next(self, now: float) -> pb.SessionRequest | None:
        """The next message that should go out now; control before results."""
        if not self._attached:
            return None
        if now >= self._beat_at + self._interval_s * BEAT_SHARE:
            return self._full_beat(now)
        if self._soon and now >= next(iter(self._soon.values())):
            return self._early_beat(now)
        if self._draining and not self._drain_told:
            self._drain_told = True
            return pb.SessionRequest(draining=pb.Draining())
        if self._results:
            return self._next_results()
        credit = self._credit()
        return pb.SessionRequest(credit=pb.Credit(slots=credit)) if credit else None

    def due(self) -> float:
        """When `next` will have something even if nothing happens."""
        if not self._attached:
            return math.inf
        beat = self._beat_at + self._interval_s * BEAT_SHARE
        return min(beat, next(iter(self._soon.values()))) if self._soon else beat

    # A lease whose result is in the queue or on its way is not listed: the stream keeps the order, so the scheduler
    # would see the heartbeat of a lease that has ended.

    def _full_beat(self, now: float) -> pb.SessionRequest:
        self.counters.beat_delay.record(max(0.0, now - self._beat_at - self._interval_s * BEAT_SHARE))
        self._beat_at = now
        self._soon.clear()
        return _beat((key, held) for key, held in self._held.items() if not held.finished)

    def _early_beat(self, now: float) -> pb.SessionRequest:
        keys = []
        for key, due in self._soon.items():
            if due > now:
                break
            keys.append(key)
        for key in keys:
            del self._soon[key]
        return _beat((key, self._held[key]) for key in keys)

    def _next_results(self) -> pb.SessionRequest:
        batch: list[pb.Result] = []
        size = 0
        while self._results and len(batch) < BATCH_MAX and size < BATCH_BYTES:
            batch.append(self._results.popleft())
            size += batch[-1].ByteSize()
        self._batch += 1
        self._unacked[self._batch] = batch
        message = pb.Results(batch=self._batch, results=batch, credit=self._credit())
        return pb.SessionRequest(results=message)

    def _credit(self) -> int:
        """Announces every slot that is free: not in use, not announced, and not waiting for its result to be sent."""
        if self._draining:
            return 0
        free = max(self._slots - self._in_use - self._announced - len(self._results), 0)
        self._announced += free
        return free

    # -- questions

    @property
    def held(self) -> int:
        """Leases that count as ours."""
        return len(self._held)

    @property
    def results_waiting(self) -> int:
        """Results that were not acknowledged; a guess while another thread changes them."""
        return len(self._results) + sum(map(len, list(self._unacked.values())))

    @property
    def unacked(self) -> bool:
        """Whether results are on their way."""
        return bool(self._unacked)

    @property
    def settled(self) -> bool:
        """Whether nothing is held, every result was acknowledged, and the scheduler knows of a drain."""
        return not self._held and not self._results and not self._unacked and self._draining == self._drain_told

    def at_risk(self, key: Key, now: float) -> bool:
        """Whether the lease has certainly run out: nothing can have renewed it for longer than it lasts."""
        held = self._held.get(key)
        return held is None or now > max(self._beat_at, held.since) + self._lease_s

    def all_at_risk(self, now: float) -> bool:
        """Whether that is so for every lease that was there at the last heartbeat."""
        return bool(self._held) and now > self._beat_at + self._lease_s


def _listed(key: Key, held: Held) -> pb.HeldLease:
    progress = held.progress if held.is_news else None
    held.is_news = False
    return pb.HeldLease(job=key[0], lease_id=key[1], progress=progress)


def _beat(leases: Iterable[tuple[Key, Held]]) -> pb.SessionRequest:
    return pb.SessionRequest(heartbeat=pb.Heartbeat(held=[_listed(key, held) for key, held in leases]))
