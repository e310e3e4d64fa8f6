"""SchedulerService: request in, reply out; knows nothing of its transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from google.protobuf.duration_pb2 import Duration
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks_core.batching import MicroBatcher
from headworks_core.cells import Meta
from headworks_core.context import CallContext
from headworks_core.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    ServiceError,
    Violation,
)
from headworks_core.grpc_errors import item_error
from headworks_core.names import JobName, parse_job

from headworks_scheduler.domain.jobs import CancelOutcome, NewJob, Submitted
from headworks_scheduler.listing import Listing
from headworks_scheduler.queues import Queues
from headworks_scheduler.redriving import Redriving
from headworks_scheduler.refusals import no_room
from headworks_scheduler.store.jobs import BATCH_MAX, JobStore
from headworks_scheduler.submission import SubmissionReader
from headworks_scheduler.views import by_bytes, is_terminal, job_view
from headworks_scheduler.watching import WatchHub

READ_MAX = (
    50  # jobs a call: with the largest payloads and results that is 25 MB, which Redis must not be kept with for long
)

WATCH_BYTES = 1 << 20  # a message ends with the job that reaches this; clients take 4 MiB by default

Bundle = tuple[list[NewJob], str]
"""The jobs of one call, and the call's traceparent."""


class SchedulerServicer:
    """What callers ask of the scheduler."""

    def __init__(
        self,
        store: JobStore,
        meta: Meta,
        queues: Queues,
        reader: SubmissionReader,
        listing: Listing,
        redriving: Redriving,
        hub: WatchHub,
        submits: MicroBatcher[Bundle, list[Submitted]],
    ) -> None:
        self._store = store
        self._meta = meta
        self._queues = queues
        self._reader = reader
        self._listing = listing
        self._redriving = redriving
        self._hub = hub
        self._submits = submits

    async def SubmitJob(self, request: pb.SubmitJobRequest, caller: CallContext) -> pb.SubmitJobResponse:
        """See the proto."""
        queue = self._queues.get(request.queue or "default")
        job = self._reader.read(request.job, queue, caller, "job.")
        (outcome,) = await self._submits(([job], caller.traceparent))
        error = _refusal(job, outcome)
        if error is not None:
            raise error
        return pb.SubmitJobResponse(name=self._name(job), existing=outcome is Submitted.EXISTING)

    async def SubmitJobs(self, request: pb.SubmitJobsRequest, caller: CallContext) -> pb.SubmitJobsResponse:
        """See the proto."""
        _check_batch("jobs", len(request.jobs))
        queue = self._queues.get(request.queue or "default")
        results: list[pb.SubmitResult | None] = []
        jobs: list[NewJob] = []
        for submission in request.jobs:
            try:
                jobs.append(self._reader.read(submission, queue, caller))
                results.append(None)
            except ServiceError as error:
                results.append(pb.SubmitResult(error=item_error(error)))
        outcomes = await self._submits((jobs, caller.traceparent)) if jobs else []
        prefix = str(JobName(caller.tenant, queue.name, self._meta.cell_of(queue.name), ""))
        recorded = (self._result(job, outcome, prefix) for job, outcome in zip(jobs, outcomes, strict=True))
        return pb.SubmitJobsResponse(results=[result or next(recorded) for result in results])

    async def GetJob(self, request: pb.GetJobRequest, caller: CallContext) -> pb.GetJobResponse:
        """See the proto."""
        name = self._own(request.name, caller)
        (fields,) = await self._store.read(name.cell, [name.ref], traceparent=caller.traceparent)
        if fields is None:
            raise _missing(request.name)
        return pb.GetJobResponse(job=job_view(request.name, fields))

    async def WatchJobs(self, request: pb.WatchJobsRequest, caller: CallContext) -> AsyncIterator[pb.WatchJobsResponse]:
        """See the proto."""
        _check_batch("names", len(request.names))
        names = [self._own(name, caller, field="names") for name in request.names]
        pending = {(name.cell, name.ref): str(name) for name in names}
        with self._hub.watching(pending) as watch:
            watch.mark(pending)
            while pending:
                keys = [key for key in await watch.changed() if key in pending]
                jobs = await self._read(keys, pending)
                told = [job for job in jobs if job.HasField("finish_time") or not request.terminal_only]
                for some in by_bytes(told, WATCH_BYTES):
                    yield pb.WatchJobsResponse(jobs=some)

    async def CancelJob(self, request: pb.CancelJobRequest, caller: CallContext) -> pb.CancelJobResponse:
        """See the proto."""
        name = self._own(request.name, caller)
        outcome, remaining_us = await self._store.cancel(name.cell, name.ref, traceparent=caller.traceparent)
        if outcome is CancelOutcome.MISSING:
            raise _missing(request.name)
        if outcome is CancelOutcome.FINISHED:
            raise FailedPrecondition(f"job {request.name} has already finished", reason=Reason.JOB_FINISHED)
        (fields,) = await self._store.read(name.cell, [name.ref])
        if fields is None:
            raise _missing(request.name)
        response = pb.CancelJobResponse(job=job_view(request.name, fields))
        if response.job.state == job_pb2.JOB_STATE_LEASED:
            remaining = Duration()
            remaining.FromMicroseconds(remaining_us)
            response.lease_remaining.CopyFrom(remaining)
        return response

    async def ListJobs(self, request: pb.ListJobsRequest, caller: CallContext) -> pb.ListJobsResponse:
        """See the proto."""
        return await self._listing.list_jobs(request, caller)

    async def RedriveJob(self, request: pb.RedriveJobRequest, caller: CallContext) -> pb.RedriveJobResponse:
        """See the proto."""
        name = self._own(request.name, caller)
        (before,) = await self._store.read(name.cell, [name.ref])
        if before is None or not await self._redriving.redrive(name, caller):
            raise _missing(request.name)
        (fields,) = await self._store.read(name.cell, [name.ref])
        if fields is None:
            raise _missing(request.name)
        return pb.RedriveJobResponse(job=job_view(request.name, fields))

    async def RedriveJobs(self, request: pb.RedriveJobsRequest, caller: CallContext) -> pb.RedriveJobsResponse:
        """See the proto."""
        return await self._redriving.redrive_jobs(request, caller)

    async def _read(self, keys: Sequence[tuple[int, str]], pending: dict[tuple[int, str], str]) -> list[job_pb2.Job]:
        """Read watched jobs; those that have ended leave `pending`."""
        jobs = []
        for cell in {cell for cell, _ in keys}:
            refs = [ref for of, ref in keys if of == cell]
            for at in range(0, len(refs), READ_MAX):
                jobs += await self._read_some(cell, refs[at : at + READ_MAX], pending)
        return jobs

    async def _read_some(
        self, cell: int, refs: Sequence[str], pending: dict[tuple[int, str], str]
    ) -> list[job_pb2.Job]:
        jobs = []
        for ref, fields in zip(refs, await self._store.read(cell, refs, watch=True), strict=True):
            name = pending[cell, ref]
            if fields is None:
                raise _missing(name)
            if is_terminal(fields):
                del pending[cell, ref]
            jobs.append(job_view(name, fields))
        return jobs

    def _own(self, text: str, caller: CallContext, *, field: str = "name") -> JobName:
        name = parse_job(text, field=field)
        if name.tenant != caller.tenant or name.cell != self._meta.cell_of(name.queue):
            raise _missing(text)
        return name

    def _name(self, job: NewJob) -> str:
        return str(JobName(job.tenant, job.queue.name, self._meta.cell_of(job.queue.name), job.tail))

    def _result(self, job: NewJob, outcome: Submitted, prefix: str) -> pb.SubmitResult:
        if outcome is Submitted.CREATED:
            return pb.SubmitResult(name=prefix + job.tail)
        error = _refusal(job, outcome)
        if error is not None:
            return pb.SubmitResult(error=item_error(error))
        return pb.SubmitResult(name=prefix + job.tail, existing=True)


def _check_batch(field: str, size: int) -> None:
    if not 1 <= size <= BATCH_MAX:
        rule = f"{size} items; 1 to {BATCH_MAX}"
        raise InvalidArgument(f"{field}: {rule}", reason=Reason.BATCH_SIZE, violations=[Violation(field, rule)])


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no job {name}", reason=Reason.JOB_NOT_FOUND)


def _refusal(job: NewJob, outcome: Submitted) -> ServiceError | None:
    queue = job.queue
    if outcome is Submitted.CONFLICT:
        message = f"request_id {job.tail} belongs to a job of queue {queue.name} with another spec"
        return AlreadyExists(message, reason=Reason.JOB_ALREADY_EXISTS)
    return no_room(queue, job.tenant, outcome)


class SubmitFlush:
    """Records the jobs of many calls in one script call a cell."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    async def __call__(self, bundles: list[Bundle]) -> list[list[Submitted] | Exception]:
        """One list of outcomes a bundle; at most 500 jobs in all."""
        jobs = [job for bundle, _ in bundles for job in bundle]
        trace = next((trace for _, trace in bundles if trace), "")
        outcomes = iter(await self._store.submit(jobs, traceparent=trace))
        return [[next(outcomes) for _ in bundle] for bundle, _ in bundles]


def weight(bundle: Bundle) -> int:
    """What a bundle counts as in the micro-batch."""
    return len(bundle[0])
