"""What a session has to write, in the order in which it goes out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from functools import lru_cache

from google.protobuf.duration_pb2 import Duration
from headworks.worker.v1 import session_pb2 as pb
from headworks_core import telemetry

from headworks_scheduler.domain.jobs import Claimed
from headworks_scheduler.store.jobs import BATCH_MAX

ASSIGN_BYTES = 1 << 20  # a message ends with the job that reaches this; clients take 4 MiB by default


class Outgoing:
    """What waits to be written: control messages never wait behind work."""

    def __init__(self) -> None:
        self._control: deque[pb.SessionResponse] = deque()
        self._work: deque[Claimed] = deque()
        self._event = asyncio.Event()

    def control(self, message: pb.SessionResponse) -> None:
        """Send before any work."""
        self._control.append(message)
        self._event.set()

    def work(self, jobs: Iterable[Claimed]) -> None:
        """Send in this order."""
        self._work.extend(jobs)
        self._event.set()

    async def next(self) -> pb.SessionResponse:
        """Waits for the next message; work that has gathered goes out together."""
        while not self._control and not self._work:
            self._event.clear()
            await self._event.wait()
        if self._control:
            return self._control.popleft()
        jobs: list[Claimed] = []
        size = 0
        while self._work and len(jobs) < BATCH_MAX and size < ASSIGN_BYTES:
            jobs.append(self._work.popleft())
            size += len(jobs[-1].spec)
        return pb.SessionResponse(assign=pb.Assign(jobs=[_assignment(job) for job in jobs]))

    def take_back(self) -> list[Claimed]:
        """Work that was not written; it will not be."""
        unsent = list(self._work)
        self._work.clear()
        return unsent


def _assignment(job: Claimed) -> pb.Assignment:
    traceparent = job.traceparent
    if traceparent:
        with telemetry.span("dispatch", telemetry.PRODUCER, traceparent, {"app.job.name": job.name}) as span:
            traceparent = telemetry.traceparent_of(span)
    return pb.Assignment(
        job=job.name,
        lease_id=job.lease_id,
        attempt=job.attempt,
        spec=job.spec,
        traceparent=traceparent,
        attempt_timeout=_duration(job.timeout_us),
    )


@lru_cache(maxsize=256)
def _duration(micros: int) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(micros)
    return duration
