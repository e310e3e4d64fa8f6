"""The scheduler's client: do this for me."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks_core.errors import FailedPrecondition

from headworks_client.calls import SchedulerCalls
from headworks_client.channel import Connection
from headworks_client.jobs import Job
from headworks_client.snapshots import JobSnapshot
from headworks_client.watching import WatchCall, Watcher, follow_all

_INNERMOST: ContextVar[SchedulerClient | None] = ContextVar("headworks_scheduler_client", default=None)


class SchedulerClient(SchedulerCalls[Job]):
    """Submits jobs and follows them. Use it as an async context manager; one client serves any number of callers.

    Inside the block it is the client that `task.submit()` uses. Every method raises the kinds of
    `headworks_core.errors`.
    """

    def __init__(self, target: str, *, tenant: str = "default", timeout_s: float = 5.0) -> None:
        connection = Connection(target, tenant=tenant, timeout_s=timeout_s)
        super().__init__(connection, lambda name, existing: Job(name, self, existing=existing))
        self._watcher: Watcher | None = None
        self._outer: SchedulerClient | None = None

    async def __aenter__(self) -> Self:
        self.open()
        self._watcher = Watcher(self._open_watch)
        self._outer = _INNERMOST.get()
        _INNERMOST.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if _INNERMOST.get() is self:
            _INNERMOST.set(self._outer)
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            await watcher.close()
        await self._connection.close()

    @classmethod
    def current(cls) -> SchedulerClient:
        """The innermost open client of this context; FailedPrecondition if there is none."""
        client = _INNERMOST.get()
        while client is not None and client._watcher is None:
            client = client._outer
        if client is None:
            raise FailedPrecondition("no SchedulerClient is open: submit inside `async with SchedulerClient(...)`")
        return client

    def job(self, name: str) -> Job:
        """A handle on a job of this name; asks nothing."""
        return Job(name, self)

    async def outcome(self, name: str) -> job_pb2.Job:
        """The job once it has ended, however it did. Any number may wait at the same time: they share streams."""
        if self._watcher is None:
            raise FailedPrecondition("the client is not open")
        return await self._watcher.outcome(name)

    async def watch(self, names: Sequence[str], *, terminal_only: bool = False) -> AsyncGenerator[JobSnapshot, None]:
        """Each job's present state, then its changes (those in between may be merged), until all have ended.

        Any number of names, each once. Goes on over lost connections. NotFound for the first that does not exist.
        """
        last: dict[str, JobSnapshot] = {}
        async with aclosing(follow_all(self._open_watch, names, terminal_only=terminal_only)) as jobs:
            async for job in jobs:
                snapshot = JobSnapshot.from_proto(job)
                if last.get(snapshot.name) != snapshot:
                    last[snapshot.name] = snapshot
                    yield snapshot

    def _open_watch(self, request: pb.WatchJobsRequest) -> WatchCall:
        return self._stub.WatchJobs(request, metadata=self._connection.metadata)
