"""What a handler can ask and tell while it runs: annotate a parameter `Context` to get it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import time
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog
from headworks.scheduler.v1 import job_pb2
from headworks_client.backoff import Backoff
from headworks_client.decisions import Decision
from headworks_client.limiter import LimiterClient
from headworks_core.errors import FailedPrecondition, Unavailable

from headworks_worker.attempts import Attempt
from headworks_worker.ledger import Key

T = TypeVar("T")

MESSAGE_MAX = 200
STORE_FAILURE_WAIT_S = 1.0  # before asking again where the limiter cannot say when
SPREAD_MIN_S, SPREAD_MAX_S = 0.02, 0.64  # after the first refusal, doubled with each


class Leases(Protocol):
    """What a context needs of the session."""

    def progressed(self, key: Key, progress: job_pb2.Progress) -> None:
        """Tell how far a job is."""
        ...

    def at_risk(self, key: Key) -> bool:
        """Whether a lease has certainly run out."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all contexts of a worker share."""

    loop: asyncio.AbstractEventLoop
    leases: Leases
    limiter: LimiterClient | None


class Context:
    """One attempt, seen from its handler. Every method may be called from the handler's thread or task."""

    is_headworks_context = True

    def __init__(self, attempt: Attempt, around: Surroundings) -> None:
        self._attempt = attempt
        self._around = around
        self.job: str = attempt.key[0]
        """The job's name."""
        self.lease_id: int = attempt.key[1]
        """The fencing token, for whatever must refuse an outdated attempt: it grows with every lease of the job."""
        self.attempt: int = attempt.number
        """Which attempt this is, from 1."""
        self.deadline: float | None = None if attempt.timeout_s is None else time.monotonic() + attempt.timeout_s
        """When the attempt times out, on `time.monotonic()`; None: never."""

    @property
    def log(self) -> structlog.stdlib.BoundLogger:
        """A logger that says which job this is; inside a trace its ids are added too."""
        logger: structlog.stdlib.BoundLogger = structlog.get_logger("headworks.task")
        return logger.bind(task=self._attempt.spec.task, job=self.job, attempt=self.attempt)

    # -- stopping

    @property
    def cancelled(self) -> bool:
        """Whether the handler should stop: cancelled by request, lease lost, timed out, or the worker is going away."""
        return self._attempt.stop is not None

    def check_cancelled(self) -> None:
        """Raise asyncio.CancelledError if the handler should stop. For plain functions; tasks are cancelled anyway."""
        if self._attempt.stop is not None:
            raise asyncio.CancelledError(self._attempt.stop.value)

    @property
    def lease_at_risk(self) -> bool:
        """Whether no heartbeat went out for longer than the lease lasts: another worker may have been given the job."""
        return self._around.leases.at_risk(self._attempt.key)

    # -- telling

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        """Tell how far the job is: cheap, never waits; sent within about 100 ms, of which only the last word counts."""
        told = job_pb2.Progress(done=max(done, 0), total=max(total, 0), message=message[:MESSAGE_MAX])
        self._around.leases.progressed(self._attempt.key, told)

    # -- asking

    @property
    def limiter(self) -> LimiterClient:
        """The limiter's client, for async handlers; FailedPrecondition if the worker has none."""
        if self._around.limiter is None:
            raise FailedPrecondition("this worker was started without a limiter")
        return self._around.limiter

    async def acquire(self, namespace: str, descriptors: Mapping[str, str], permits: int | None = None) -> Decision:
        """Take permits, waiting in this job's slot until the limiter grants them; also while it cannot be asked.

        Ends with the attempt: set a timeout on the task to bound the wait. Raises what the limiter refuses for good
        (unknown namespace, more permits than a rule ever holds).
        """
        limiter, request_id, backoff = self.limiter, str(uuid.uuid4()), Backoff(0.1, 5.0)
        spread_s = SPREAD_MIN_S
        while True:
            try:
                decision = await limiter.consume(namespace, descriptors, permits, request_id=request_id)
            except Unavailable as error:
                wait_s = backoff.next_s()
                self.log.warning("limiter.unavailable", error=str(error), retry_in_s=round(wait_s, 3))
            else:
                if decision.allowed:
                    return decision
                # Whoever was refused hears of the same moment: come at it spread out, or all but one are refused again.
                wait_s = (decision.retry_after_s or STORE_FAILURE_WAIT_S) + random.uniform(0, spread_s)
                spread_s = min(2 * spread_s, SPREAD_MAX_S)
            await asyncio.sleep(wait_s)

    def acquire_blocking(self, namespace: str, descriptors: Mapping[str, str], permits: int | None = None) -> Decision:
        """`acquire` for plain functions."""
        return self.run(self.acquire(namespace, descriptors, permits))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the worker's event loop and wait for it; for plain functions, which run in threads.

        Raises asyncio.CancelledError as soon as the handler should stop.
        """
        if self._attempt.thread is None:
            coroutine.close()
            raise FailedPrecondition("run() is for plain functions; an async handler awaits")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._around.loop)
        self._attempt.halt = future.cancel
        try:
            self.check_cancelled()
            return future.result()
        except concurrent.futures.CancelledError:
            raise asyncio.CancelledError(self._attempt.stop.value if self._attempt.stop else "cancelled") from None
        finally:
            self._attempt.halt = None
            future.cancel()
