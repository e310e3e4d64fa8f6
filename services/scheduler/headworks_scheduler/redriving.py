"""Redrives: what is asked for, checked, and what was sent back."""

from __future__ import annotations

from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks_core.cells import Meta
from headworks_core.context import CallContext
from headworks_core.errors import FailedPrecondition, Reason, ResourceExhausted, ServiceError, Violation, invalid
from headworks_core.names import JobName

from headworks_scheduler import tokens
from headworks_scheduler.domain.jobs import Filter, Position, Queue, Redriven
from headworks_scheduler.listing import read_filter
from headworks_scheduler.queues import Queues
from headworks_scheduler.refusals import no_room
from headworks_scheduler.store.redrives import RedriveStore

LIMIT_MAX = 500
SLICE = 100  # jobs a script call, so that Redis is not kept for long
CALLS_MAX = 10


class Redriving:
    """Answers RedriveJobs, and sends single jobs back."""

    def __init__(self, store: RedriveStore, meta: Meta, queues: Queues) -> None:
        self._store = store
        self._meta = meta
        self._queues = queues

    async def redrive(self, name: JobName, caller: CallContext) -> bool:
        """Send one job back; False if there is none. Raises for one that may not go, and for lack of room."""
        queue = self._queues.get(name.queue)
        (outcome,) = await self._store.redrive(queue, name.tenant, [name.tail], traceparent=caller.traceparent)
        if outcome is Redriven.NOT_REDRIVABLE:
            message = f"job {name} is neither dead nor cancelled"
            raise FailedPrecondition(message, reason=Reason.JOB_NOT_REDRIVABLE)
        error = no_room(queue, name.tenant, outcome)
        if error is not None:
            raise error
        return outcome is Redriven.DONE

    async def redrive_jobs(self, request: pb.RedriveJobsRequest, caller: CallContext) -> pb.RedriveJobsResponse:
        """Some dead letters; see the proto."""
        violations: list[Violation] = []
        wanted = read_filter(request.filter, violations)
        if wanted.state in job_pb2.JobState.values() and wanted.state not in (0, job_pb2.JOB_STATE_DEAD):
            violations.append(Violation("filter.state", "DEAD, or unset"))
        if not 0 <= request.limit <= LIMIT_MAX:
            violations.append(Violation("limit", f"1 to {LIMIT_MAX}"))
        if violations:
            raise invalid(violations)
        queue = self._queues.get(request.queue or "default")
        scope = ["redrive", caller.tenant, queue.name, *wanted._replace(state=0)]
        after, cutoff_us = tokens.decode(request.page_token, scope) if request.page_token else (None, 0)
        tails, after, cutoff_us = await self._redrive_dead(
            queue, caller, wanted, request.limit or LIMIT_MAX, after, cutoff_us
        )
        prefix = str(JobName(caller.tenant, queue.name, self._meta.cell_of(queue.name), ""))
        token = "" if after is None else tokens.encode(scope, after, cutoff_us)
        return pb.RedriveJobsResponse(names=[prefix + tail for tail in tails], next_page_token=token)

    async def _redrive_dead(
        self, queue: Queue, caller: CallContext, wanted: Filter, limit: int, after: Position | None, cutoff_us: int
    ) -> tuple[list[str], Position | None, int]:
        """The tails of what was sent back, where to go on, and the cutoff. Raises only before anything was."""
        tails: list[str] = []
        error: ServiceError | None
        for _ in range(CALLS_MAX):
            try:
                page = await self._store.redrive_dead(
                    queue,
                    caller.tenant,
                    wanted,
                    limit=min(SLICE, limit - len(tails)),
                    cutoff_us=cutoff_us,
                    after=after,
                    traceparent=caller.traceparent,
                )
                error = no_room(queue, caller.tenant, page.stopped)
            except ResourceExhausted as full:
                error = full
            else:
                tails += page.tails
                after, cutoff_us = page.after, page.cutoff_us
            if error is not None and not tails:
                raise error
            if after is None or error is not None or len(tails) == limit:
                break
        return tails, after, cutoff_us
