"""An independent model of one cell of the scheduler's store, in plain Python.

It keeps jobs, and the order of the ready ones by `domain.order`; every index is derived from them, so that the store's
indexes are compared with what they stand for. Each transition returns what `JobStore` must answer; what the scripts
must publish meanwhile is gathered in `told`.
"""

from __future__ import annotations

from collections.abc import Sequence

from headworks_scheduler.domain.jobs import (
    Beat,
    CancelOutcome,
    Claimed,
    Completion,
    FailedAttempt,
    Held,
    NewJob,
    Queue,
    Redriven,
    Release,
    State,
    Submitted,
)
from headworks_scheduler.domain.order import ShardOrder
from headworks_scheduler.domain.retry import RetryPolicy
from headworks_scheduler.store.jobs import Reaped, StoreOptions

from tests.integration.scheduler_store.modelled import TERMINAL, WAITING, Job, Told

WATCHERS_MAX = 64


class CellModel:
    """The transitions of one cell."""

    def __init__(self, cell: int, options: StoreOptions) -> None:
        self.cell = cell
        self.options = options
        self.now = 0
        self.jobs: dict[str, Job] = {}
        self.orders: dict[str, ShardOrder] = {}
        self.timers: dict[str, int] = {}
        self.waiters: dict[str, set[str]] = {}
        self.outbox: list[list[bytes]] = []
        self.seq = 0
        self.last_lease = 0
        self.told = Told()

    # ---- transitions, as JobStore has them

    def submit(self, groups: Sequence[Sequence[NewJob]]) -> list[list[Submitted]]:
        """Groups of one tenant and queue."""
        outbox_full = len(self.outbox) >= self.options.outbox_max
        answers = []
        for group in groups:
            self.seq += len(group)
            answers.append(
                [self._submit(new, self.seq - len(group) + n, outbox_full) for n, new in enumerate(group, 1)]
            )
        return answers

    def _submit(self, new: NewJob, seq: int, outbox_full: bool) -> Submitted:
        job = Job(new, self.now)
        if job.ref in self.jobs:
            return Submitted.EXISTING if self.jobs[job.ref].new.spec == new.spec else Submitted.CONFLICT
        waiting = [other for other in self.jobs.values() if other.queue == job.queue and other.state in WAITING]
        if len(waiting) >= new.queue.max_size:
            return Submitted.QUEUE_FULL
        if sum(other.new.tenant == new.tenant for other in waiting) >= new.queue.max_size_per_tenant:
            return Submitted.TENANT_FULL
        if outbox_full:
            return Submitted.OUTBOX_FULL
        self.jobs[job.ref] = job
        if new.delay_us:
            job.due = self.now + new.delay_us
            self._timer("r", job, job.due)
        else:
            job.seq = seq
            self._make_ready(job)
        if new.expire_us:
            job.expires = self.now + new.expire_us
            self._timer("x", job, job.expires)
        return Submitted.CREATED

    def claim(self, queue: Queue, replica: str, workers: Sequence[tuple[str, int]]) -> list[Claimed]:
        """The replica waits if it got fewer than it asked for."""
        waiters = self.waiters.setdefault(queue.name, set())
        waiters.discard(replica)
        order = self.orders.setdefault(queue.name, ShardOrder())
        order.tenant_weights, order.lane_weights = queue.tenant_weights, queue.lane_weights
        claimed: list[Claimed] = []
        for worker, wanted in workers:
            for _ in range(wanted):
                job = self._next(queue.name)
                if job is None:
                    waiters.add(replica)
                    break
                claimed.append(self._lease(job, replica, worker))
        if order.levels:
            self.told.woken.append(queue.name)
        return claimed

    def heartbeat(self, replica: str, held: Sequence[Held]) -> list[Beat]:
        """Any replica may renew."""
        beats = []
        for lease in held:
            job = self._holder(lease.ref, lease.lease_id)
            if job is None or job.state is not State.LEASED:
                beats.append(Beat.LOST)
                continue
            job.beat, job.replica, job.lease_ends = job.lease, replica, self.now + self.options.lease_us
            if lease.progress:
                job.progress = lease.progress
                self._notify(job)
            beats.append(Beat.CANCEL_REQUESTED if job.cancel else Beat.RENEWED)
        return beats

    def complete(self, items: Sequence[Completion]) -> list[bool]:
        """False: the lease was lost."""
        return [self._complete(item) for item in items]

    def _complete(self, item: Completion) -> bool:
        job = self._holder(item.ref, item.lease_id)
        if job is not None and job.state is State.LEASED:
            job.result, job.content_type = item.result, item.content_type
            self._finish(job, "succeeded", State.SUCCEEDED, item.traceparent)
        return job is not None

    def fail(self, items: Sequence[FailedAttempt]) -> list[bool]:
        """False: the lease was lost."""
        return [self._fail(item) for item in items]

    def _fail(self, item: FailedAttempt) -> bool:
        job = self._holder(item.ref, item.lease_id)
        if job is None or job.state is not State.LEASED:
            return job is not None
        _, *numbers = f"0:{job.new.retry}".split(":")
        policy = RetryPolicy(*map(int, numbers))
        job.failures += 1
        job.failure = item.failure
        if not item.retryable or job.failures >= policy.max_attempts:
            self._finish(job, "dead", State.DEAD, item.traceparent, item.event_failure)
        elif job.cancel:
            self._finish(job, "cancelled", State.CANCELLED, item.traceparent)
        else:
            delay = item.retry_after_us
            if delay < 0:
                delay = policy.delay_us(job.failures, item.luck_milli)
            job.state = State.SCHEDULED if delay else State.READY
            self._emit(job, "retrying", item.traceparent, item.event_failure)
            self._wait_again(job, delay)
            self._notify(job)
        return True

    def release(self, items: Sequence[Release]) -> list[bool]:
        """False: the lease was lost."""
        return [self._release(item) for item in items]

    def _release(self, item: Release) -> bool:
        job = self._holder(item.ref, item.lease_id)
        if job is None or job.state is not State.LEASED:
            return job is not None
        if job.cancel:
            self._finish(job, "cancelled", State.CANCELLED, item.traceparent)
        else:
            job.attempts -= 1
            self._wait_again(job, item.delay_us)
            self._notify(job)
        return True

    def reap(self, limit: int) -> Reaped:
        """Leases that have ended."""
        held = sorted((job.lease_ends, job.ref) for job in self.jobs.values() if job.state is State.LEASED)
        ended = [self.jobs[ref] for ends, ref in held if ends <= self.now][:limit]
        outcomes = [self._reap(job) for job in ended]
        lost = sum(delivered for delivered, _ in outcomes)
        fates = [fate for _, fate in outcomes]
        undelivered = len(ended) - lost
        return Reaped(len(ended), undelivered, lost, fates.count(State.DEAD), fates.count(State.CANCELLED), 0)

    def _reap(self, job: Job) -> tuple[bool, State]:
        delivered = job.beat == job.lease
        job.lease += 1
        if delivered:
            job.lost += 1
        else:
            job.undelivered += 1
            job.attempts -= 1
        if job.cancel:
            self._finish(job, "cancelled", State.CANCELLED, job.new.traceparent)
        elif delivered and job.lost > self.options.lost_max:
            job.failure = self.options.poison
            self._finish(job, "dead", State.DEAD, job.new.traceparent, job.failure)
        else:
            self._wait_again(job, 0)
            self._notify(job)
        return delivered, job.state

    def due(self, limit: int) -> tuple[int, int]:
        """Timers whose time has come, and the time until the next."""
        members = sorted((at, member) for member, at in self.timers.items() if at <= self.now)[:limit]
        for _, member in members:
            self.timers.pop(member, None)
            job = self.jobs[member[1:]]
            if member[0] == "r" and job.state is State.SCHEDULED:
                if not job.seq:
                    self.seq += 1
                    job.seq = self.seq
                self._make_ready(job)
                self._notify(job)
            elif member[0] == "x" and job.state in WAITING:
                self._leave_lane(job)
                self._expire(job)
        upcoming = min(self.timers.values(), default=None)
        return len(members), -1 if upcoming is None else max(0, upcoming - self.now)

    def cancel(self, ref: str, trace: str) -> tuple[CancelOutcome, int]:
        """End it, or ask its worker to."""
        job = self.jobs.get(ref)
        if job is None:
            return CancelOutcome.MISSING, 0
        if job.state is State.LEASED:
            if not job.cancel:
                self.told.cancels.append((job.replica, f"cancel {ref} {job.lease}"))
                self._notify(job)
            job.cancel = True
            return CancelOutcome.REQUESTED, max(0, job.lease_ends - self.now)
        if job.state in WAITING:
            self._leave_lane(job)
            self._finish(job, "cancelled", State.CANCELLED, trace)
        return (CancelOutcome.CANCELLED if job.state is State.CANCELLED else CancelOutcome.FINISHED), 0

    def forget(self, limit: int) -> int:
        """Queue by queue those beyond its cap, else those whose time is over; then those beyond the cell's cap."""
        finished = sorted((job for job in self.jobs.values() if job.state in TERMINAL), key=_end)
        rules = {queue.name: queue for queue in self.options.queues}
        gone: list[Job] = []
        for name in sorted({job.queue for job in finished}):
            jobs = [job for job in finished if job.queue == name]
            rule = rules.get(name, Queue())
            surplus = len(jobs) - rule.max_finished if rule.max_finished else 0
            kept_us = rule.retention_us or self.options.retention_us
            over = jobs[:surplus] if surplus > 0 else [job for job in jobs if job.finished + kept_us <= self.now]
            gone += over[: limit - len(gone)]
        left = [job for job in finished if job not in gone]
        gone += left[: max(0, min(limit - len(gone), len(left) - self.options.finished_max))]
        for job in gone:
            del self.jobs[job.ref]
        return len(gone)

    def redrive(self, queue: Queue, tenant: str, tails: Sequence[str]) -> list[Redriven]:
        """Each by itself."""
        return [self._redrive(queue, tenant, tail) for tail in tails]

    def redrive_dead(self, queue: Queue, tenant: str, limit: int, cutoff: int) -> list[str]:
        """The tails of those that are sent back, those first that died first."""
        dead = [job for job in self.jobs.values() if job.state is State.DEAD and job.queue == queue.name]
        due = sorted((job for job in dead if job.new.tenant == tenant and job.finished <= cutoff), key=_end)[:limit]
        return [job.new.tail for job in due if self._redrive(queue, tenant, job.new.tail) is Redriven.DONE]

    def _redrive(self, queue: Queue, tenant: str, tail: str) -> Redriven:
        job = self.jobs.get(f"{tenant}/{queue.name}/{tail}")
        if job is None:
            return Redriven.MISSING
        if job.state not in (State.DEAD, State.CANCELLED):
            return Redriven.NOT_REDRIVABLE
        waiting = [other for other in self.jobs.values() if other.queue == queue.name and other.state in WAITING]
        if len(self.outbox) >= self.options.outbox_max:
            return Redriven.OUTBOX_FULL
        if len(waiting) >= queue.max_size:
            return Redriven.QUEUE_FULL
        if sum(other.new.tenant == tenant for other in waiting) >= queue.max_size_per_tenant:
            return Redriven.TENANT_FULL
        self.seq += 1
        job.gen, job.seq = job.gen + 1, self.seq
        job.failures = job.lost = job.finished = job.expires = 0
        job.cancel, job.progress = False, b""
        self._make_ready(job)
        self._notify(job)
        return Redriven.DONE

    def watch(self, ref: str, replica: str) -> None:
        """A replica wants to hear of a job's changes; the last 8 do."""
        job = self.jobs.get(ref)
        if job is not None and job.state not in TERMINAL and replica not in job.watch:
            job.watch = [*job.watch, replica][-WATCHERS_MAX:]

    # ---- parts of transitions

    def _holder(self, ref: str, lease_id: int) -> Job | None:
        """The job if nobody else has held it since."""
        job = self.jobs.get(ref)
        return job if job is not None and job.lease == lease_id else None

    def _next(self, queue: str) -> Job | None:
        """The next job to run; expired ones before it are dead, and have had their turn."""
        while (place := self.orders[queue].claim()) is not None:
            job = self.jobs[f"{place.tenant}/{queue}/{place.job}"]
            if not job.expires or job.expires > self.now:
                return job
            self._expire(job)
        return None

    def _lease(self, job: Job, replica: str, worker: str) -> Claimed:
        self.last_lease = max(self.last_lease + 1, self.now)
        job.state, job.lease, job.lease_ends = State.LEASED, self.last_lease, self.now + self.options.delivery_us
        job.attempts += 1
        job.worker, job.replica, job.started = worker, replica, self.now
        self._drop_timers(job)
        self._notify(job)
        name = f"tenants/{job.new.tenant}/queues/{job.queue}/jobs/{self.cell}-{job.new.tail}"
        return Claimed(name, job.lease, job.attempts, job.new.spec, job.new.traceparent, job.new.timeout_us)

    def _wait_again(self, job: Job, delay_us: int) -> None:
        job.progress = b""
        job.state, job.due = State.SCHEDULED, self.now + delay_us
        if job.expires:
            self._timer("x", job, job.expires)
        if delay_us:
            self._timer("r", job, job.due)
        else:
            self._make_ready(job)

    def _make_ready(self, job: Job) -> None:
        job.state = State.READY
        self.orders.setdefault(job.queue, ShardOrder()).add(job.place)
        if job.queue not in self.told.woken:
            self.told.woken.append(job.queue)

    def _leave_lane(self, job: Job) -> None:
        if job.state is State.READY:
            self.orders[job.queue].remove(job.place)

    def _expire(self, job: Job) -> None:
        job.failure = self.options.expired
        self._finish(job, "dead", State.DEAD, job.new.traceparent, job.failure)

    def _finish(self, job: Job, kind: str, state: State, trace: str, failure: bytes = b"") -> None:
        self._drop_timers(job)
        job.state, job.finished = state, self.now
        self._emit(job, kind, trace, failure)
        self._notify(job)

    def _emit(self, job: Job, kind: str, trace: str, failure: bytes) -> None:
        job.events += 1
        numbers = [job.events, job.attempts, job.gen, int(job.state), self.now]
        texts = [job.ref, kind, job.new.task, *map(str, numbers), trace]
        self.outbox.append([*(text.encode() for text in texts), failure])

    def _timer(self, kind: str, job: Job, at: int) -> None:
        member = kind + job.ref
        self.timers[member] = at
        if min((at, member) for member, at in self.timers.items()) == (at, member):
            self.told.timers.append(at)

    def _drop_timers(self, job: Job) -> None:
        for kind in "rx":
            self.timers.pop(kind + job.ref, None)

    def _notify(self, job: Job) -> None:
        for replica in job.watch:
            self.told.changed.setdefault(replica, []).append(job.ref)


def _end(job: Job) -> tuple[int, str, str]:
    return job.finished, job.queue, job.ref
