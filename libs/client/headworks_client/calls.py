"""The scheduler's unary calls, for the asyncio client and for the blocking one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Generic, TypeVar

from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from headworks_core import telemetry
from headworks_core.errors import ServiceError
from headworks_core.grpc_errors import from_item

from headworks_client.channel import Connection
from headworks_client.filters import JobFilter
from headworks_client.snapshots import JobSnapshot
from headworks_client.submissions import Submission

BATCH_MAX = 500
BATCH_BYTES = 8 << 20  # the service takes messages of 16 MiB
ANY_JOB = JobFilter()
_SERVICE = "headworks.scheduler.v1.SchedulerService"
J = TypeVar("J")


class SchedulerCalls(Generic[J]):
    """Everything but following jobs. `handle(name, existing)` makes what a submit returns.

    Nothing but the connection's `call` is awaited. Every method raises the kinds of `headworks_core.errors`.
    """

    def __init__(self, connection: Connection, handle: Callable[[str, bool], J]) -> None:
        self._connection = connection
        self._handle = handle

    def open(self) -> None:
        """Make it usable."""
        self._stub = SchedulerServiceStub(self._connection.open())

    async def submit(self, submission: Submission, *, queue: str = "default") -> J:
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
        return self._handle(reply.name, reply.existing)

    async def submit_many(self, submissions: Sequence[Submission], *, queue: str = "default") -> list[J | ServiceError]:
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
    ) -> list[J | ServiceError]:
        outcomes: list[J | ServiceError] = []
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

    def _outcome(self, result: pb.SubmitResult) -> J | ServiceError:
        if result.HasField("error"):
            return from_item(result.error)
        return self._handle(result.name, result.existing)

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
