"""A running worker: tasks, a pool that runs them, a session that brings work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import structlog
from headworks.worker.v1 import session_pb2 as pb
from headworks_client.limiter import LimiterClient
from headworks_client.tasks import Task
from headworks_core.names import uuid7

from headworks_worker.context import Surroundings
from headworks_worker.ledger import SessionCounters
from headworks_worker.pool import Pool, PoolCounters
from headworks_worker.registry import register
from headworks_worker.session import PROTOCOL, Session

log = structlog.get_logger(__name__)

ACK_S = 5.0  # that the scheduler has to acknowledge the last results


class Worker:
    """Runs tasks for a scheduler while its block does. Handlers run on the event loop that enters the block.

    On exit no more work is taken; handlers get `shutdown_grace_s` seconds, the rest is given back, and the results are
    delivered. Contexts opened around the block (a SchedulerClient, say) are there for the handlers.
    """

    def __init__(
        self,
        tasks: Iterable[Task[..., Any]],
        *,
        scheduler: str,
        queues: Mapping[str, int] | None = None,
        strict_order: bool = False,
        slots: int = 100,
        name: str = "",
        limiter: LimiterClient | None = None,
        shutdown_grace_s: float = 10.0,
        on_ready: Callable[[bool], object] = lambda ready: None,
    ) -> None:
        """`scheduler` is the address of its worker port; `queues` are weights by name ("default" alone if not given).

        `on_ready` is called on the event loop: whether the worker is attached and hears its scheduler. Raises
        RegistrationError for tasks that cannot be run.
        """
        self._registered = register(tasks)
        self._slots = slots
        self._target = scheduler
        self._limiter = limiter
        self._grace_s = shutdown_grace_s
        self._on_ready = on_ready
        self._hello = pb.Attach(
            protocol=PROTOCOL,
            worker=name or f"worker-{uuid7()}",
            queues=[
                pb.QueueSubscription(queue=queue, weight=weight) for queue, weight in (queues or {"default": 1}).items()
            ],
            order=pb.QUEUE_ORDER_STRICT if strict_order else pb.QUEUE_ORDER_WEIGHTED,
            tasks=sorted(self._registered)[:1000],
            slots=slots,
        )

    @property
    def slots(self) -> int:
        """Attempts that may run at a time."""
        return self._slots

    @property
    def running(self) -> int:
        """Attempts that run."""
        return self._pool.running

    @property
    def results_waiting(self) -> int:
        """Results that the scheduler has not acknowledged."""
        return self._session.results_waiting

    @property
    def pool_counters(self) -> PoolCounters:
        """What became of attempts."""
        return self._pool.counters

    @property
    def session_counters(self) -> SessionCounters:
        """What became of sessions."""
        return self._session.counters

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._pool = Pool(self._registered, slots=self._slots)
        self._session = Session(
            self._target,
            self._hello,
            self._pool,
            on_ready=lambda ready: loop.call_soon_threadsafe(self._on_ready, ready),
        )
        self._pool.connect(self._session, Surroundings(loop, self._session, self._limiter))
        self._session.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.drain()
        await self._pool.drain(self._grace_s)
        settled = await asyncio.to_thread(self._session.close, timeout_s=ACK_S)
        if not settled:
            log.error("results.not_acknowledged", why="the scheduler did not answer; their jobs will run again")
