"""The scheduler's client: do this for me."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from headworks_core import telemetry
from headworks_core.errors import FailedPrecondition, ServiceError
from headworks_core.grpc_errors import from_item

from headworks_client.channel import Connection
from headworks_client.filters import JobFilter
from headworks_client.jobs import Job
from headworks_client.snapshots import JobSnapshot
from headworks_client.submissions import Submission
from headworks_client.watching import WatchCall, Watcher, follow_all

BATCH_MAX = 500
BATCH_BYTES = 8 << 20  # the service takes messages of 16 MiB
ANY_JOB = JobFilter()
_SERVICE = "headworks.scheduler.v1.SchedulerService"
_INNERMOST: ContextVar[SchedulerClient | None] = ContextVar("headworks_scheduler_client", default=None)


class SchedulerClient:
    """Submits jobs and follows them. Use it as an async context manager; one client serves any number of callers.

    Inside the block it is the client that `task.submit()` uses. Every method raises the kinds of
    `headworks_core.errors`.
    """

    def __init__(self, target: str, *, tenant: str = "default", timeout_s: float = 5.0) -> None:
        self._connection = Connection(target, tenant=tenant, timeout_s=timeout_s)
        self._watcher: Watcher | None = None
        self._outer: SchedulerClient | None = None

    async def __aenter__(self) -> Self:
        self._stub = SchedulerServiceStub(self._connection.open())
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

    async def submit(self, submission: Submission, *, queue: str = "default") -> Job:
        """Submit one job; when this returns, it is recorded."""
        call = self._connection.call
        method, name = self._stub.SubmitJob, f"{_SERVICE}/SubmitJob"
        if not telemetry.current_traceparent():
            reply = await call(method, name, pb.SubmitJobRequest(queue=queue, job=submission.to_proto()))
        else:
            with telemetry.span(f"submit {submission.task}", telemetry.PRODUCER) as span:
                job = submission.to_proto(telemetry.traceparent_of(span))
                reply = await call(method, name, pb.SubmitJobRequest(queue=queue, job=job))
                span.set_attribute("app.job.name", reply.name)
        return Job(reply.name, self, existing=reply.existing)

    async def submit_many(
        self, submissions: Sequence[Submission], *, queue: str = "default"
    ) -> list[Job | ServiceError]:
        """Submit any number of jobs to one queue, in order; one outcome each.

        They go in calls of at most 500. A call that fails gives its error to its own jobs and to all that would have
        followed; give the submissions request ids to be able to repeat them.
        """
        if not telemetry.current_traceparent():
            return await self._submit_all(submissions, queue, "")
        tasks = {submission.task for submission in submissions}
        name = f"submit {tasks.pop()}" if len(tasks) == 1 else "submit"
        attributes = {"messaging.batch.message_count": len(submissions)}
        with telemetry.span(name, telemetry.PRODUCER, attributes=attributes) as span:
            return await self._submit_all(submissions, queue, telemetry.traceparent_of(span))

    async def _submit_all(
        self, submissions: Sequence[Submission], queue: str, traceparent: str
    ) -> list[Job | ServiceError]:
        outcomes: list[Job | ServiceError] = []
        for batch in _batches(submissions):
            jobs = [submission.to_proto(traceparent) for submission in batch]
            request = pb.SubmitJobsRequest(queue=queue, jobs=jobs)
            try:
                reply = await self._connection.call(self._stub.SubmitJobs, f"{_SERVICE}/SubmitJobs", request)
            except ServiceError as error:
                outcomes += [error] * (len(submissions) - len(outcomes))
                break
            outcomes += [self._outcome(result) for result in reply.results]
        return outcomes

    def _outcome(self, result: pb.SubmitResult) -> Job | ServiceError:
        if result.HasField("error"):
            return from_item(result.error)
        return Job(result.name, self, existing=result.existing)

    def job(self, name: str) -> Job:
        """A handle on a job of this name; asks nothing."""
        return Job(name, self)

    async def get(self, name: str) -> JobSnapshot:
        """The job as it is now; NotFound."""
        reply = await self._connection.call(self._stub.GetJob, f"{_SERVICE}/GetJob", pb.GetJobRequest(name=name))
        return JobSnapshot.from_proto(reply.job)

    async def cancel(self, name: str) -> JobSnapshot:
        """Cancel a job: at once if no worker has it, otherwise its worker is asked. NotFound, FailedPrecondition."""
        request = pb.CancelJobRequest(name=name)
        reply = await self._connection.call(self._stub.CancelJob, f"{_SERVICE}/CancelJob", request)
        return JobSnapshot.from_proto(reply.job)

    async def jobs(
        self, queue: str = "default", where: JobFilter = ANY_JOB, *, full: bool = False, page_size: int = 0
    ) -> AsyncGenerator[JobSnapshot, None]:
        """The jobs of a queue that the filter fits, one by one, from as many pages as are read; NotFound (the queue).

        Payloads, results and traces are left out unless `full`. A job that moves meanwhile may be missed or met twice.
        """
        view = pb.JOB_VIEW_FULL if full else pb.JOB_VIEW_BASIC
        request = pb.ListJobsRequest(queue=queue, filter=where.to_proto(), view=view, page_size=page_size)
        while True:
            reply = await self._connection.call(self._stub.ListJobs, f"{_SERVICE}/ListJobs", request)
            for job in reply.jobs:
                yield JobSnapshot.from_proto(job)
            if not reply.next_page_token:
                return
            request.page_token = reply.next_page_token

    async def redrive(self, name: str) -> JobSnapshot:
        """Send a dead or cancelled job back: READY, in a new generation. NotFound, FailedPrecondition (its state).

        Unavailable does not say whether it was done: look at the job before asking again.
        """
        request = pb.RedriveJobRequest(name=name)
        reply = await self._connection.call(self._stub.RedriveJob, f"{_SERVICE}/RedriveJob", request)
        return JobSnapshot.from_proto(reply.job)

    async def redrive_dead(
        self, queue: str = "default", where: JobFilter = ANY_JOB, *, limit: int | None = None
    ) -> AsyncGenerator[list[str], None]:
        """Send the dead jobs of a queue that the filter fits back, those first that died first, `limit` at most.

        Yields the names of each call's jobs as they are sent back (some calls have none); stop reading to stop.
        NotFound (the queue), ResourceExhausted when not even one fits. What dies again meanwhile is not met twice.
        """
        request = pb.RedriveJobsRequest(queue=queue, filter=where.to_proto())
        left = limit
        while left is None or left > 0:
            request.limit = BATCH_MAX if left is None else min(left, BATCH_MAX)
            reply = await self._connection.call(self._stub.RedriveJobs, f"{_SERVICE}/RedriveJobs", request)
            yield list(reply.names)
            if not reply.next_page_token:
                return
            request.page_token = reply.next_page_token
            left = None if left is None else left - len(reply.names)

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


def _batches(submissions: Sequence[Submission]) -> Iterator[list[Submission]]:
    batch: list[Submission] = []
    size = 0
    for submission in submissions:
        if batch and (len(batch) == BATCH_MAX or size + len(submission.payload) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(submission)
        size += len(submission.payload)
    if batch:
        yield batch
