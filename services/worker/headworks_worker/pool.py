"""Runs jobs: async functions as tasks of the event loop, plain ones in threads; with timeouts, cancelling, drain."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import structlog
from google.protobuf.message import DecodeError
from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks_client.durations import to_seconds
from headworks_core.measures import RUN_BOUNDS_S, Distributions, Tally
from headworks_core.telemetry import is_sampled, traceparent_of

from headworks_worker import outcomes
from headworks_worker.attempts import Attempt, Stop
from headworks_worker.context import Context, Leases, Surroundings
from headworks_worker.failures import trace_of_thread
from headworks_worker.ledger import Ended, Key
from headworks_worker.registry import Registered
from headworks_worker.threads import Threads
from headworks_worker.tracing import attempt_span

log = structlog.get_logger(__name__)

STOP_S = 5.0  # that an async handler has to end after its timeout, before it is reported without having ended
NO_THREAD, NO_THREAD_S = "the worker can start no thread", 5.0
UNKNOWN_TASK = "(unknown)"
OUTCOMES = {"success": "succeeded", "failed": "failed", "released": "released", "lost": "lost"}
DRAIN_STOP_S = 1.0  # that handlers have to end when the grace is over


class Reports(Leases, Protocol):
    """Where ends are reported."""

    def ended(self, ends: Iterable[Ended]) -> None:
        """Handlers have ended."""
        ...

    def freed(self) -> None:
        """A handler whose result was reported earlier has ended."""
        ...


class PoolCounters:
    """What the pool has done since it started."""

    def __init__(self) -> None:
        self.attempts = Tally()
        """By task and outcome: succeeded, failed, released, lost."""
        self.durations = Distributions(RUN_BOUNDS_S)
        """Seconds from the arrival of a job to its handler's end, by task."""


class Pool:
    """The running attempts. Lives on the event loop; `assigned` and `stop` may be called from any thread."""

    def __init__(self, tasks: Mapping[str, Registered], *, slots: int) -> None:
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._threads = Threads(slots)
        self._running: dict[Key, Attempt] = {}
        self._ends: list[Ended] = []
        self._idle = asyncio.Event()
        self._draining = False
        self.counters = PoolCounters()

    def connect(self, reports: Reports, surroundings: Surroundings) -> None:
        """Where to report, and what handlers see. Called once, before the first job."""
        self._reports = reports
        self._surroundings = surroundings

    @property
    def running(self) -> int:
        """Attempts that run."""
        return len(self._running)

    # -- from the session's thread

    def assigned(self, jobs: Sequence[pb.Assignment]) -> None:
        """Start these, in this order."""
        self._loop.call_soon_threadsafe(self._start_all, jobs, context=self._context)

    def stop(self, keys: Sequence[Key], why: Stop) -> None:
        """Stop these, if they still run."""
        self._loop.call_soon_threadsafe(self._stop_all, keys, why, context=self._context)

    # -- the end

    async def drain(self, grace_s: float) -> None:
        """Let handlers finish within the grace, then stop and release the rest; what still comes goes back at once."""
        self._draining = True
        await self._all_ended(grace_s)
        left = list(self._running.values())
        if left:
            log.warning("drain.grace_over", running=len(left))
        for attempt in left:
            self._stop(attempt, Stop.DRAINING)
        await self._all_ended(DRAIN_STOP_S)
        for attempt in list(self._running.values()):
            self._abandon(attempt)
        self._flush()
        self._threads.close()

    async def _all_ended(self, timeout_s: float) -> None:
        self._idle.clear()
        if self._running:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._idle.wait()

    # -- starting

    def _start_all(self, jobs: Sequence[pb.Assignment]) -> None:
        now = self._loop.time()
        for job in jobs:
            self._start(Attempt(job, now), job)

    def _start(self, attempt: Attempt, job: pb.Assignment) -> None:
        self._running[attempt.key] = attempt
        try:
            attempt.spec = job_pb2.JobSpec.FromString(job.spec)
        except DecodeError:
            return self._end(attempt, outcomes.undecodable(attempt))
        registered = self._tasks.get(attempt.spec.task)
        if self._draining:
            return self._end(attempt, outcomes.released(attempt, Stop.DRAINING.value))
        if registered is None:
            log.error("task.unknown", task=attempt.spec.task, job=attempt.key[0], known=sorted(self._tasks)[:20])
            return self._end(attempt, outcomes.unknown_task(attempt))
        timeout_s = to_seconds(job.attempt_timeout)
        if timeout_s > 0:
            attempt.timeout_s = timeout_s
            attempt.timer = self._loop.call_later(timeout_s, self._timed_out, attempt)
        attempt.in_thread = not registered.is_async
        if registered.is_async:
            attempt.halt = self._loop.create_task(self._run(attempt, registered)).cancel
        else:
            thread_work = partial(contextvars.copy_context().run, self._run_in_thread, attempt, registered)
            try:
                self._threads.submit(thread_work)
            except RuntimeError:
                self._end(attempt, outcomes.released(attempt, NO_THREAD, delay_s=NO_THREAD_S))

    async def _run(self, attempt: Attempt, registered: Registered) -> None:
        attempt.started = True
        task = asyncio.current_task(self._loop)
        result: pb.Result | None
        try:
            if attempt.stop is not None:
                raise asyncio.CancelledError
            if is_sampled(attempt.trace):
                with attempt_span(attempt) as span:
                    attempt.trace = traceparent_of(span)
                    value = await registered.function(**self._arguments(attempt, registered))
            else:
                value = await registered.function(**self._arguments(attempt, registered))
            result = outcomes.returned(attempt, value)
        except KeyboardInterrupt:  # the process ends
            raise
        except BaseException as error:  # the handler's own: all of them are outcomes, a panic of a native library too
            if isinstance(error, GeneratorExit) and asyncio.current_task(self._loop) is not task:
                raise  # the coroutine is being thrown away, with its loop
            result = outcomes.raised(attempt, error)
        self._end(attempt, result)

    def _run_in_thread(self, attempt: Attempt, registered: Registered) -> None:
        attempt.started = True
        attempt.thread = threading.get_ident()
        result: pb.Result | None
        try:
            if attempt.stop is not None:
                raise asyncio.CancelledError
            if is_sampled(attempt.trace):
                with attempt_span(attempt) as span:
                    attempt.trace = traceparent_of(span)
                    value = registered.function(**self._arguments(attempt, registered))
            else:
                value = registered.function(**self._arguments(attempt, registered))
            result = outcomes.returned(attempt, value)
        except BaseException as error:  # as above; the signals that end the process do not come to threads
            result = outcomes.raised(attempt, error)
        self._loop.call_soon_threadsafe(self._end, attempt, result)

    def _arguments(self, attempt: Attempt, registered: Registered) -> dict[str, Any]:
        arguments = registered.arguments.read(attempt.spec.payload)
        if registered.context_name is not None:
            arguments[registered.context_name] = Context(attempt, self._surroundings)
        return arguments

    # -- stopping

    def _stop_all(self, keys: Sequence[Key], why: Stop) -> None:
        for key in keys:
            attempt = self._running.get(key)
            if attempt is not None:
                self._stop(attempt, why)

    def _stop(self, attempt: Attempt, why: Stop) -> None:
        """The first reason counts, but for a lost lease, which counts always."""
        if attempt.stop is not None:
            attempt.stop = why if why is Stop.LOST else attempt.stop
            return
        attempt.stop = why
        halt = attempt.halt
        if attempt.started and halt is not None:  # a task cancelled before its first step would never report
            halt()

    def _timed_out(self, attempt: Attempt) -> None:
        attempt.timer = None
        was_stopping = attempt.stop is not None
        self._stop(attempt, Stop.TIMED_OUT)
        if attempt.in_thread or was_stopping:
            self._abandon(attempt)
        else:
            attempt.timer = self._loop.call_later(STOP_S, self._abandon, attempt)

    def _abandon(self, attempt: Attempt) -> None:
        """Report a handler that does not end; its slot stays taken until it does."""
        if attempt.timer is not None:
            attempt.timer.cancel()
        self._running.pop(attempt.key)
        attempt.abandoned = True
        log.warning("handler.does_not_end", task=attempt.spec.task, job=attempt.key[0], stop=str(attempt.stop))
        result = outcomes.stopped(attempt, attempt.stop or Stop.TIMED_OUT, trace_of_thread(attempt.thread))
        self._count(attempt, result)
        self._report(Ended(attempt.key, result, frees=False))

    # -- ending

    def _end(self, attempt: Attempt, result: pb.Result | None) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
        if attempt.abandoned:
            log.info("handler.ended_late", task=attempt.spec.task, job=attempt.key[0])
            self._reports.freed()
            return
        self._count(attempt, result)
        del self._running[attempt.key]
        self._report(Ended(attempt.key, result))

    def _count(self, attempt: Attempt, result: pb.Result | None) -> None:
        task = attempt.spec.task if attempt.spec.task in self._tasks else UNKNOWN_TASK
        outcome = (result.WhichOneof("outcome") if result is not None else None) or "lost"
        self.counters.attempts[task, OUTCOMES[outcome]] += 1
        self.counters.durations[task,].record(self._loop.time() - attempt.began)

    def _report(self, end: Ended) -> None:
        """All ends of one turn of the loop are reported together."""
        if not self._ends:
            self._loop.call_soon(self._flush)
        self._ends.append(end)

    def _flush(self) -> None:
        ends, self._ends = self._ends, []
        if ends:
            self._reports.ended(ends)
        if not self._running:
            self._idle.set()
