"""Lists of jobs: what is asked for, checked, and the pages."""

from __future__ import annotations

from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks_core.cells import Meta
from headworks_core.context import CallContext
from headworks_core.errors import Violation, invalid
from headworks_core.names import LANE, TASK, JobName

from headworks_scheduler import tokens
from headworks_scheduler.domain.jobs import Filter
from headworks_scheduler.queues import Queues
from headworks_scheduler.store.lists import ListStore
from headworks_scheduler.views import job_view

PAGE_DEFAULT, PAGE_MAX, FULL_MAX = 50, 500, 50


class Listing:
    """Answers ListJobs."""

    def __init__(self, store: ListStore, meta: Meta, queues: Queues) -> None:
        self._store = store
        self._meta = meta
        self._queues = queues

    async def list_jobs(self, request: pb.ListJobsRequest, caller: CallContext) -> pb.ListJobsResponse:
        """One page; see the proto."""
        violations: list[Violation] = []
        wanted = read_filter(request.filter, violations)
        full = request.view == pb.JOB_VIEW_FULL
        if request.view not in pb.JobView.values():
            violations.append(Violation("view", "unknown"))
        size_max = FULL_MAX if full else PAGE_MAX
        if not 0 <= request.page_size <= size_max:
            violations.append(Violation("page_size", f"1 to {size_max}"))
        if violations:
            raise invalid(violations)
        queue = self._queues.get(request.queue or "default").name
        scope = ["list", caller.tenant, queue, *wanted]
        after = tokens.decode(request.page_token, scope)[0] if request.page_token else None
        page = await self._store.page(
            queue,
            caller.tenant,
            wanted,
            size=request.page_size or PAGE_DEFAULT,
            full=full,
            after=after,
            traceparent=caller.traceparent,
        )
        prefix = str(JobName(caller.tenant, queue, self._meta.cell_of(queue), ""))
        jobs = [job_view(prefix + tail, fields) for tail, fields in page.jobs]
        return pb.ListJobsResponse(
            jobs=jobs, next_page_token="" if page.after is None else tokens.encode(scope, page.after)
        )


def read_filter(wanted: pb.JobFilter, violations: list[Violation]) -> Filter:
    """A filter from the wire; what is wrong with it is added to `violations`."""
    if wanted.state not in job_pb2.JobState.values():
        violations.append(Violation("filter.state", "unknown"))
    if wanted.task and not TASK.fullmatch(wanted.task):
        violations.append(Violation("filter.task", "1 to 200 of [A-Za-z0-9_.:-], or empty"))
    if not LANE.fullmatch(wanted.lane):
        violations.append(Violation("filter.lane", "at most 128 of [A-Za-z0-9_.:@-]"))
    if wanted.category not in job_pb2.FailureCategory.values():
        violations.append(Violation("filter.category", "unknown"))
    if len(wanted.error_class) > 200:
        violations.append(Violation("filter.error_class", "at most 200 characters"))
    lane = wanted.lane if wanted.HasField("lane") else None
    return Filter(wanted.state, wanted.task, lane, wanted.category, wanted.error_class)
