"""One attempt of a job while it runs here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb

from headworks_worker.ledger import Key

_NO_SPEC = job_pb2.JobSpec()


class Stop(Enum):
    """Why a handler is asked to stop."""

    CANCELLED = "cancelled"
    LOST = "lost"
    TIMED_OUT = "timed out"
    DRAINING = "draining"


class Attempt:
    """What the pool knows of it. Changed on the event loop only; its handler's thread reads `stop`."""

    __slots__ = (
        "abandoned",
        "began",
        "halt",
        "in_thread",
        "key",
        "number",
        "spec",
        "started",
        "stop",
        "thread",
        "timeout_s",
        "timer",
        "trace",
    )

    spec: job_pb2.JobSpec

    def __init__(self, assignment: pb.Assignment, began: float) -> None:
        """`began` is when it came, by the loop's clock."""
        self.began = began
        self.spec = _NO_SPEC
        self.key: Key = (assignment.job, assignment.lease_id)
        self.number = assignment.attempt
        self.trace = assignment.traceparent
        """Of the submit; once its own span is open, of that."""
        self.timeout_s: float | None = None
        self.stop: Stop | None = None
        self.started = False
        self.in_thread = False
        self.abandoned = False
        """It was reported although its handler had not ended."""
        self.halt: Callable[[], object] | None = None
        """Makes the handler notice `stop`."""
        self.timer: asyncio.TimerHandle | None = None
        self.thread: int | None = None
        """Ident of the thread that runs it."""
