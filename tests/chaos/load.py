"""Who uses the system during a run: submitters, cancellers, watchers and callers of the limiter."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import uuid
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress

from headworks_client import Retry, SchedulerClient
from headworks_client.jobs import Job
from headworks_client.limiter import LimiterClient
from headworks_client.snapshots import JobSnapshot
from headworks_client.submissions import Submission
from headworks_core.errors import FailedPrecondition, ServiceError, Unavailable

from tests.chaos.cluster import QUEUES, TENANTS, job_name, now
from tests.chaos.history import Cancelled, Complaint, Final, Granted, History, Submitted

MAX_ATTEMPTS = 4
KINDS = {
    "quick": 50,
    "sleepy": 18,
    "blocking": 6,
    "told": 5,
    "flaky": 6,
    "limited": 4,
    "long": 2,
    "doomed": 2,
    "permanent": 2,
    "overtime": 1,
}
"""Of a hundred jobs; `killer` comes by the clock."""
RETRY_S = 0.2
BATCH_MAX = 12
WATCH_S = 60.0


def final_of(job: JobSnapshot) -> Final:
    """What the judge has to know of a job."""
    lease = 0
    if job.result is not None:
        with suppress(ValueError, TypeError):
            lease = int(json.loads(job.result.data))
    return Final(
        name=job.name,
        state=job.state.value,
        attempts=job.attempts,
        failures=job.failures,
        lost=job.lost_leases,
        undelivered=job.undelivered,
        generation=job.generation,
        lease_id=job.lease_id,
        category=job.failure.category.value if job.failure else "",
        error_class=job.failure.error_class if job.failure else "",
        result_lease=lease,
    )


class Load:
    """Writes into the epoch's history what it did and heard. `stop()` ends it; what is under way is settled first."""

    def __init__(self, history: History, api: str, permits: str, *, rate: float, killer_every_s: float) -> None:
        self.history = history
        self.rate = rate
        """Jobs a second from those who submit batches."""
        self.last_ack = now()
        self.silence_s = 0.0
        """The longest time without an acknowledgement."""
        self._killer_every_s = killer_every_s
        self._clients = {tenant: SchedulerClient(api, tenant=tenant, timeout_s=3.0) for tenant in TENANTS}
        self._limiter = LimiterClient(permits, timeout_s=1.0)
        self._rng = random.Random(history.meta.seed * 1_000 + history.meta.epoch)
        self._over = asyncio.Event()
        self._beside_tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """No more new jobs."""
        self._over.set()

    async def run(self, settle: asyncio.Event) -> None:
        """Until `stop`, and until every submit is acknowledged; when `settle` is set they give up."""
        async with AsyncExitStack() as stack:
            for client in self._clients.values():
                await stack.enter_async_context(client)
            await stack.enter_async_context(self._limiter)
            stack.push_async_callback(self._leave)
            async with asyncio.TaskGroup() as tasks:
                for number in range(6):
                    tasks.create_task(self._in_turn(number, settle))
                for _ in range(4):
                    tasks.create_task(self._in_batches(settle))
                tasks.create_task(self._killers(settle))
                for what in ("smooth", "smooth", "windowed", "windowed"):
                    tasks.create_task(self._ask(what))
            await self._told()

    async def _told(self) -> None:
        """Wait for those who watch and cancel."""
        if self._beside_tasks:
            _, late = await asyncio.wait(self._beside_tasks, timeout=WATCH_S)
            for task in late:
                self._complain(task.get_name(), f"still running {WATCH_S} s after the last submit")

    async def _leave(self) -> None:
        left = list(self._beside_tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # -- submitting

    async def _pause(self, seconds: float) -> bool:
        """Wait; whether the load goes on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        return not self._over.is_set()

    async def _in_turn(self, number: int, settle: asyncio.Event) -> None:
        """One caller with a lane of its own: each job after the acknowledgement of the one before."""
        rng = random.Random(self._rng.random())
        tenant, queue, level = TENANTS[number % 3], QUEUES[number % 2], (2, 5, 5, 7, 9, 5)[number]
        while await self._pause(rng.uniform(0.05, 0.2)):
            job, submission = self._make(rng, tenant, queue, rng.choice(["quick", "sleepy", "told"]), f"turn-{number}")
            job.in_turn, job.level = True, level
            submission = dataclasses.replace(submission, level=level)
            await self._submit(tenant, queue, [(job, submission)], settle)
            if rng.random() < 0.05 and job.acked_at is not None:
                await self._again(tenant, queue, job, submission)

    async def _in_batches(self, settle: asyncio.Event) -> None:
        """One caller who submits whatever there is, in batches, and cancels or follows some of it."""
        rng = random.Random(self._rng.random())
        kinds, weights = list(KINDS), list(KINDS.values())
        while True:
            tenant, queue, size = rng.choice(TENANTS), rng.choice(QUEUES), rng.randint(1, BATCH_MAX)
            if not await self._pause(rng.expovariate(1.0) * 4 * size / self.rate):
                return
            chosen = rng.choices(kinds, weights, k=size)
            jobs = [self._make(rng, tenant, queue, kind, rng.choice(["", "x", "y", "z"])) for kind in chosen]
            await self._submit(tenant, queue, jobs, settle)
            for job, _ in jobs:
                if rng.random() < 0.06:
                    self._beside(self._cancel(tenant, job.name, rng.uniform(0, 2)), f"cancel of {job.name}")
                elif rng.random() < 0.1 and job.acked_at is not None:
                    self._beside(self._follow(tenant, job.name), f"watch of {job.name}")

    async def _killers(self, settle: asyncio.Event) -> None:
        """Jobs that kill their worker, once, or until they are poison."""
        rng = random.Random(self._rng.random())
        while await self._pause(self._killer_every_s * rng.uniform(0.5, 1.5)):
            tenant, queue = rng.choice(TENANTS), rng.choice(QUEUES)
            await self._submit(tenant, queue, [self._make(rng, tenant, queue, "killer", "kill")], settle)

    def _make(self, rng: random.Random, tenant: str, queue: str, kind: str, lane: str) -> tuple[Submitted, Submission]:
        request_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        in_turn = lane.startswith("turn")
        level = rng.choice([0, 2, 5, 5, 5, 7, 9])
        expires = not in_turn and rng.random() < 0.03
        seconds = {"quick": 0.0, "long": rng.uniform(4, 8), "overtime": 10.0, "killer": 1.5}.get(kind, rng.random() / 2)
        times = {"flaky": rng.randint(1, MAX_ATTEMPTS - 1), "doomed": 1_000, "killer": 1 if rng.random() < 0.7 else 9}
        arguments = {
            "kind": kind,
            "epoch": self.history.meta.epoch,
            "seconds": round(seconds, 3),
            "times": times.get(kind, 0),
            "bucket": "one",
        }
        threaded = kind == "blocking" or (kind in ("flaky", "overtime") and rng.random() < 0.5)
        submission = Submission(
            task="chaos.block" if threaded else "chaos.run",
            payload=json.dumps(arguments).encode(),
            level=level,
            lane=lane,
            delay_s=rng.uniform(0.05, 4) if not in_turn and rng.random() < 0.15 else 0.0,
            expire_after_s=rng.uniform(1, 6) if expires else None,
            attempt_timeout_s=0.5 if kind == "overtime" else None,
            retry=Retry(max_attempts=MAX_ATTEMPTS, initial_backoff_s=0.1, max_backoff_s=1.0),
            request_id=request_id,
        )
        name = job_name(tenant, queue, request_id)
        job = Submitted(name, kind, now(), tenant, queue, level, lane, max_attempts=MAX_ATTEMPTS, expires=expires)
        return job, submission

    async def _submit(
        self, tenant: str, queue: str, jobs: Sequence[tuple[Submitted, Submission]], settle: asyncio.Event
    ) -> None:
        """Until each is acknowledged or refused, with the same request ids."""
        self.history.submitted += [job for job, _ in jobs]
        left = list(jobs)
        for job, _ in left:
            job.sent_at = now()
        while left and not settle.is_set():
            outcomes = await self._try(tenant, queue, [submission for _, submission in left])
            again = []
            for (job, submission), outcome in zip(left, outcomes, strict=True):
                if isinstance(outcome, Job):
                    self._acknowledged(job, outcome)
                elif isinstance(outcome, Unavailable) or type(outcome) is ServiceError:
                    job.unknown += 1
                    again.append((job, submission))
                    self._mind(job.name, outcome)
                else:
                    job.refused = outcome.reason.value
                    self._complain(job.name, f"refused: {outcome!r}")
            left = again
            if left:
                await asyncio.sleep(RETRY_S)

    async def _try(self, tenant: str, queue: str, batch: list[Submission]) -> Sequence[Job | ServiceError]:
        client = self._clients[tenant]
        if len(batch) > 1:
            return await client.submit_many(batch, queue=queue)
        try:
            return [await client.submit(batch[0], queue=queue)]
        except ServiceError as error:
            return [error]

    def _acknowledged(self, job: Submitted, outcome: Job) -> None:
        job.acked_at = now()
        self.silence_s = max(self.silence_s, job.acked_at - self.last_ack)
        self.last_ack = job.acked_at
        if outcome.name != job.name:
            self._complain(job.name, f"acknowledged as {outcome.name}")

    async def _again(self, tenant: str, queue: str, job: Submitted, submission: Submission) -> None:
        """Submit what is acknowledged once more: it is there, or it was lost."""
        (outcome,) = await self._try(tenant, queue, [submission])
        if isinstance(outcome, Job):
            if not outcome.existing:
                self._complain(job.name, "acknowledged, submitted again, and it was new")
        elif not isinstance(outcome, Unavailable):
            self._mind(job.name, outcome)

    # -- what else callers do

    def _beside(self, doing: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(self._safely(doing, name), name=name)
        self._beside_tasks.add(task)
        task.add_done_callback(self._beside_tasks.discard)

    async def _safely(self, doing: Coroutine[None, None, None], name: str) -> None:
        try:
            await doing
        except Exception as error:
            self._complain(name, repr(error))

    async def _cancel(self, tenant: str, name: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        at = now()
        try:
            job = await self._clients[tenant].cancel(name)
            outcome = job.state.value
        except FailedPrecondition:
            outcome = "ended"
        except ServiceError as error:
            outcome = "unknown"
            if not isinstance(error, Unavailable):
                self._mind(name, error)
        self.history.cancelled.append(Cancelled(name, at, outcome))

    async def _follow(self, tenant: str, name: str) -> None:
        async for job in self._clients[tenant].watch([name], terminal_only=True):
            self.history.told.append(final_of(job))

    async def _ask(self, what: str) -> None:
        """One caller of the limiter, who repeats a call whose outcome it does not know under the same id."""
        rng = random.Random(self._rng.random())
        while await self._pause(rng.uniform(0.01, 0.06)):
            request_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
            permits, asked = rng.choice([1, 1, 2, 5]), now()
            for _ in range(5):
                try:
                    decision = await self._limiter.consume("calls", {"what": what}, permits, request_id=request_id)
                except Unavailable:
                    await asyncio.sleep(RETRY_S)
                    continue
                except ServiceError as error:
                    self._mind(what, error)
                    break
                if decision.allowed and not decision.degraded:
                    self.history.granted.append(Granted(what, asked, now(), permits, request_id))
                break

    def _mind(self, who: str, error: ServiceError) -> None:
        if not isinstance(error, Unavailable):
            self._complain(who, f"{type(error).__name__} {error.reason.value}: {error.message}")

    def _complain(self, who: str, what: str) -> None:
        self.history.complaints.append(Complaint(now(), who, what))
