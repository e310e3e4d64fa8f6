"""A limiter and a scheduler for tests of clients: real sockets, answers as the test says, everything received kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from headworks.limiter.v1 import limiter_pb2
from headworks.limiter.v1 import limiter_service_pb2 as limiter
from headworks.limiter.v1.limiter_service_pb2_grpc import LimiterServiceServicer, add_LimiterServiceServicer_to_server
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as scheduler
from headworks.scheduler.v1.scheduler_service_pb2_grpc import (
    SchedulerServiceServicer,
    add_SchedulerServiceServicer_to_server,
)
from headworks_core import grpc_errors
from headworks_core.errors import InvalidArgument, NotFound, Reason, ServiceError

QUEUE = "tenants/default/queues/default/jobs/0-"


class FakeApi(LimiterServiceServicer, SchedulerServiceServicer):
    """Both services on one port."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.failures: deque[ServiceError | grpc.StatusCode] = deque()
        """What the next calls fail with; then they succeed."""
        self.decide: Callable[[limiter_pb2.PermitRequest], limiter_pb2.Decision] = lambda request: limiter_pb2.Decision(
            allowed=True, permits=request.permits
        )
        self.reports_taken = asyncio.Event()
        """While it is not set, ReportOutcome does not answer."""
        self.reports_taken.set()
        self.jobs: dict[str, job_pb2.Job] = {}
        self.watches: list[list[str]] = []
        """The names of each WatchJobs call."""
        self.open_watches = 0
        self._changed = asyncio.Condition()
        self._cut = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    # -- what the test does

    async def put(self, name: str, state: job_pb2.JobState, **fields: Any) -> None:
        """Make or change a job."""
        async with self._changed:
            self.jobs[name] = job_pb2.Job(name=name, state=state, **fields)
            self._changed.notify_all()

    async def cut_watches(self) -> None:
        """End the running WatchJobs calls with UNAVAILABLE."""
        async with self._changed:
            self._cut += 1
            self._changed.notify_all()

    # -- limiter

    async def Check(self, request: Any, context: Any) -> Any:
        """See the proto."""
        await self._note(request, context)
        return limiter.CheckResponse(decision=self.decide(request.request))

    async def Consume(self, request: Any, context: Any) -> Any:
        """See the proto."""
        await self._note(request, context)
        return limiter.ConsumeResponse(decision=self.decide(request.request))

    async def ConsumeBatch(self, request: Any, context: Any) -> Any:
        """See the proto; descriptors {"bad": ...} are an error."""
        await self._note(request, context)
        results = [
            limiter_pb2.PermitResult(error=grpc_errors.item_error(InvalidArgument("bad descriptors")))
            if "bad" in item.descriptors
            else limiter_pb2.PermitResult(decision=self.decide(item))
            for item in request.requests
        ]
        return limiter.ConsumeBatchResponse(results=results)

    async def ConsumeStream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """See the proto."""
        async for request in requests:
            await self._note(request, context)
            results = [limiter_pb2.PermitResult(decision=self.decide(item)) for item in request.requests]
            yield limiter.ConsumeStreamResponse(id=request.id, results=results)

    async def ReportOutcome(self, request: Any, context: Any) -> Any:
        """See the proto; a status of 429 blocks for a second and a half."""
        await self._note(request, context)
        await self.reports_taken.wait()
        if request.status != 429:
            return limiter.ReportOutcomeResponse()
        return limiter.ReportOutcomeResponse(blocked_for=Duration(seconds=1, nanos=500_000_000), rules=["upstream"])

    # -- scheduler

    async def SubmitJob(self, request: Any, context: Any) -> Any:
        """See the proto."""
        await self._note(request, context)
        return scheduler.SubmitJobResponse(name=QUEUE + request.job.request_id)

    async def SubmitJobs(self, request: Any, context: Any) -> Any:
        """See the proto; the task "bad" is an error."""
        await self._note(request, context)
        results = [
            scheduler.SubmitResult(error=grpc_errors.item_error(InvalidArgument("bad task")))
            if job.spec.task == "bad"
            else scheduler.SubmitResult(name=QUEUE + job.request_id)
            for job in request.jobs
        ]
        return scheduler.SubmitJobsResponse(results=results)

    async def GetJob(self, request: Any, context: Any) -> Any:
        """See the proto."""
        await self._note(request, context)
        if request.name not in self.jobs:
            await grpc_errors.abort(context, missing(request.name))
        return scheduler.GetJobResponse(job=self.jobs[request.name])

    async def CancelJob(self, request: Any, context: Any) -> Any:
        """See the proto."""
        await self._note(request, context)
        return scheduler.CancelJobResponse(job=self.jobs[request.name])

    async def WatchJobs(self, request: Any, context: Any) -> None:  # type: ignore[override]
        """See the proto."""
        self.watches.append(list(request.names))
        await self._note(request, context)
        for name in request.names:
            if name not in self.jobs:
                await grpc_errors.abort(context, missing(name))
        self.open_watches += 1
        try:
            await self._watch(request, context)
        finally:
            self.open_watches -= 1

    async def ListJobs(self, request: Any, context: Any) -> Any:
        """Not played."""
        raise NotImplementedError

    async def RedriveJob(self, request: Any, context: Any) -> Any:
        """Not played."""
        raise NotImplementedError

    async def RedriveJobs(self, request: Any, context: Any) -> Any:
        """Not played."""
        raise NotImplementedError

    async def Settle(self, request: Any, context: Any) -> Any:
        """Not played."""
        raise NotImplementedError

    async def Release(self, request: Any, context: Any) -> Any:
        """Not played."""
        raise NotImplementedError

    async def Renew(self, request: Any, context: Any) -> Any:
        """Not played."""
        raise NotImplementedError

    async def LeaseQuota(self, request: Any, context: Any) -> Any:
        """Not played."""
        raise NotImplementedError

    async def ReturnQuota(self, request: Any, context: Any) -> Any:
        """Not played."""
        raise NotImplementedError

    async def PlanBatches(self, request: Any, context: Any) -> Any:
        """Not played."""
        raise NotImplementedError

    async def _watch(self, request: Any, context: Any) -> None:
        begun, told = self._cut, dict[str, bytes]()
        left = set(request.names)
        while left:
            for name in [n for n in request.names if n in left]:
                job = self.jobs[name]
                ended = job.state >= job_pb2.JOB_STATE_SUCCEEDED
                if told.get(name) != job.SerializeToString() and (ended or not request.terminal_only):
                    told[name] = job.SerializeToString()
                    await context.write(scheduler.WatchJobsResponse(jobs=[job]))
                left -= {name} if ended else set()
            if left:
                async with self._changed:
                    await self._changed.wait()
                if self._cut != begun:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")

    async def _note(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()) | {"time_remaining": context.time_remaining()})
        if self.failures:
            failure = self.failures.popleft()
            if isinstance(failure, ServiceError):
                await grpc_errors.abort(context, failure)
            else:
                await context.abort(failure, "as the test wants")


def missing(name: str) -> NotFound:
    """There is none of that name."""
    return NotFound(f"there is no job {name}", reason=Reason.JOB_NOT_FOUND)


@asynccontextmanager
async def fake_api() -> AsyncIterator[FakeApi]:
    """Both services, listening."""
    fake = FakeApi()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 << 20)])
    add_LimiterServiceServicer_to_server(fake, server)
    add_SchedulerServiceServicer_to_server(fake, server)
    fake.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(None)
