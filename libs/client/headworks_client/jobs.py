"""A submitted job in its caller's hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from headworks.scheduler.v1 import job_pb2

from headworks_client.payloads import Content
from headworks_client.snapshots import FailureCategory, JobSnapshot


class JobFailed(Exception):
    """The job is dead; `snapshot.failure` has the message and the trace of its last attempt."""

    def __init__(self, snapshot: JobSnapshot) -> None:
        failure = snapshot.failure
        self.snapshot = snapshot
        self.category = failure.category if failure else FailureCategory.UNKNOWN
        self.error_class = failure.error_class if failure else ""
        message = failure.message if failure else "no failure was recorded"
        super().__init__(f"{snapshot.name} is dead ({self.category}): {self.error_class}: {message}")


class JobCancelled(Exception):
    """The job was cancelled by request."""

    def __init__(self, snapshot: JobSnapshot) -> None:
        self.snapshot = snapshot
        super().__init__(f"{snapshot.name} was cancelled")


class JobCalls(Protocol):
    """What a handle needs of the client that made it."""

    async def get(self, name: str) -> JobSnapshot:
        """Read the job."""
        ...

    async def cancel(self, name: str) -> JobSnapshot:
        """Ask to cancel it."""
        ...

    async def outcome(self, name: str) -> job_pb2.Job:
        """Wait for its end."""
        ...

    def watch(self, names: list[str]) -> AsyncGenerator[JobSnapshot, None]:
        """Follow it."""
        ...


class Job:
    """A handle: the job's name, and what can be asked about it. Valid as long as its client is open."""

    __slots__ = ("_client", "existing", "name")

    def __init__(self, name: str, client: JobCalls, *, existing: bool = False) -> None:
        self.name = name
        self.existing = existing
        """The job had been made by an earlier submit with the same request id."""
        self._client = client

    def __repr__(self) -> str:
        return f"Job({self.name!r})"

    async def get(self) -> JobSnapshot:
        """The job as it is now."""
        return await self._client.get(self.name)

    async def cancel(self) -> JobSnapshot:
        """Ask to cancel it: at once if no worker has it. FailedPrecondition if it has succeeded or is dead."""
        return await self._client.cancel(self.name)

    def watch(self) -> AsyncGenerator[JobSnapshot, None]:
        """Its present state at once, then every change, until it has ended."""
        return self._client.watch([self.name])

    async def ended(self, timeout_s: float | None = None) -> JobSnapshot:
        """Wait until it has ended, however it did. TimeoutError after `timeout_s`; the job goes on."""
        return JobSnapshot.from_proto(await self._outcome(timeout_s))

    async def result(self, timeout_s: float | None = None) -> Any:
        """Wait for what the handler returned: JSON decoded, other content as bytes, None for nothing.

        Raises JobFailed, JobCancelled, or TimeoutError after `timeout_s`. Any number may wait at the same time.
        """
        return result_of(await self._outcome(timeout_s))

    async def _outcome(self, timeout_s: float | None) -> job_pb2.Job:
        async with asyncio.timeout(timeout_s):
            return await self._client.outcome(self.name)


def result_of(job: job_pb2.Job) -> Any:
    """What the handler of a job that has ended returned. Raises JobFailed, JobCancelled."""
    if job.state == job_pb2.JOB_STATE_DEAD:
        raise JobFailed(JobSnapshot.from_proto(job))
    if job.state == job_pb2.JOB_STATE_CANCELLED:
        raise JobCancelled(JobSnapshot.from_proto(job))
    return Content(job.result.data, job.result.content_type).decode()
