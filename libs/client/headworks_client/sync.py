"""The clients for code without an event loop: the same methods, which block. Threads may share a client."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from headworks_core.errors import ServiceError
from headworks_core.grpc_errors import from_call

from headworks_client.admin import AdminCalls
from headworks_client.backoff import Backoff
from headworks_client.blocking import BlockingConnection, iterate, run, sleeping
from headworks_client.calls import ANY_JOB, SchedulerCalls
from headworks_client.decisions import Decision, Learned, RuleExplanation
from headworks_client.filters import JobFilter
from headworks_client.granting import Lease, PlannedBatch
from headworks_client.holding import BlockingHold, entered
from headworks_client.jobs import result_of
from headworks_client.limiter import LimiterCalls, PermitRequest
from headworks_client.limiter_admin import LimiterAdminCalls
from headworks_client.overview import QueueSnapshot, WorkerSnapshot
from headworks_client.rules import Inspection, NamespaceRules, ReplicaCounts, RuleMistake, RulesText
from headworks_client.snapshots import JobSnapshot
from headworks_client.submissions import Submission
from headworks_client.tasks import Task
from headworks_client.watching import CUT, NAMES_MAX, TERMINAL

C = TypeVar("C", LimiterCalls, LimiterAdminCalls, AdminCalls, "SchedulerCalls[SyncJob]")


class _Client(Generic[C]):
    """Opened and closed by `with`."""

    _calls: C
    _connection: BlockingConnection

    def __enter__(self) -> Self:
        self._calls.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._connection.close())


class SyncLimiterClient(_Client[LimiterCalls]):
    """LimiterClient for code without an event loop; use it as a context manager."""

    def __init__(self, target: str, *, tenant: str = "default", timeout_s: float = 2.0) -> None:
        self._connection = BlockingConnection(target, tenant=tenant, timeout_s=timeout_s)
        self._calls = LimiterCalls(self._connection)

    def check(
        self, namespace: str, descriptors: Mapping[str, str], permits: int | None = None, *, detail_all: bool = False
    ) -> Decision:
        """What `consume` would answer now; takes nothing."""
        return run(self._calls.check(namespace, descriptors, permits, detail_all=detail_all))

    def consume(
        self,
        namespace: str,
        descriptors: Mapping[str, str],
        permits: int | None = None,
        *,
        request_id: str | None = None,
        max_wait_s: float = 0.0,
        allow_partial: bool = False,
        hold_s: float = 0.0,
        detail_all: bool = False,
    ) -> Decision:
        """Take permits from every matching rule, or from none (see LimiterClient)."""
        asked = self._calls.consume(
            namespace,
            descriptors,
            permits,
            request_id=request_id,
            max_wait_s=max_wait_s,
            allow_partial=allow_partial,
            hold_s=hold_s,
            detail_all=detail_all,
        )
        return run(asked)

    @contextmanager
    def holding(
        self, namespace: str, descriptors: Mapping[str, str], permits: int | None = None, *, max_wait_s: float = 0.0
    ) -> Iterator[BlockingHold]:
        """Hold what concurrency and adaptive rules allow while the block runs (see LimiterClient).

        The block is not cancelled when it is lost: `BlockingHold.lost` says so. Raises LimitExceeded; as `consume`.
        """

        async def ask(left_s: float) -> Decision:
            return self.consume(namespace, descriptors, permits, max_wait_s=left_s)

        hold = BlockingHold(self, run(entered(ask, sleeping, max_wait_s)))
        hold.begin()
        try:
            time.sleep(hold.decision.wait_s)
            yield hold
        finally:
            hold.end()

    def consume_batch(
        self, requests: Sequence[PermitRequest], *, detail_all: bool = False
    ) -> list[Decision | ServiceError]:
        """One outcome a request, in the same order; each is all or nothing by itself."""
        return run(self._calls.consume_batch(requests, detail_all=detail_all))

    def settle(self, grant_id: str, permits: int) -> bool:
        """Say what a grant has cost (see LimiterClient)."""
        return run(self._calls.settle(grant_id, permits))

    def release(self, grant_id: str) -> bool:
        """Give back what a grant holds (see LimiterClient)."""
        return run(self._calls.release(grant_id))

    def renew(self, grant_id: str) -> float:
        """Hold on (see LimiterClient)."""
        return run(self._calls.renew(grant_id))

    def lease_quota(
        self,
        namespace: str,
        descriptors: Mapping[str, str],
        permits: int,
        *,
        duration_s: float = 5.0,
        request_id: str = "",
    ) -> Lease:
        """Take permits in advance (see LimiterClient)."""
        return run(
            self._calls.lease_quota(namespace, descriptors, permits, duration_s=duration_s, request_id=request_id)
        )

    def return_quota(self, lease_id: str, spent: int) -> None:
        """End a lease (see LimiterClient)."""
        run(self._calls.return_quota(lease_id, spent))

    def plan_batches(
        self,
        namespace: str,
        descriptors: Mapping[str, str],
        items: int,
        *,
        permits_per_item: int | None = None,
        max_batch: int | None = None,
        min_batch: int | None = None,
        max_batches: int | None = None,
    ) -> list[PlannedBatch]:
        """Batches that fit (see LimiterClient)."""
        asked = self._calls.plan_batches(
            namespace,
            descriptors,
            items,
            permits_per_item=permits_per_item,
            max_batch=max_batch,
            min_batch=min_batch,
            max_batches=max_batches,
        )
        return run(asked)

    def report_outcome(
        self,
        namespace: str,
        descriptors: Mapping[str, str],
        status: int,
        headers: Mapping[str, str] | None = None,
        *,
        latency_s: float | None = None,
        grant_id: str | None = None,
    ) -> Learned:
        """Tell what an upstream answered (see LimiterClient)."""
        asked = self._calls.report_outcome(
            namespace, descriptors, status, headers, latency_s=latency_s, grant_id=grant_id
        )
        return run(asked)

    def explain(self, namespace: str, descriptors: Mapping[str, str]) -> list[RuleExplanation]:
        """What every rule of a namespace makes of a request (see LimiterClient)."""
        return run(self._calls.explain(namespace, descriptors))

    def reset(self, namespace: str, descriptors: Mapping[str, str], *, rule: str = "") -> list[str]:
        """Make buckets full again (see LimiterClient)."""
        return run(self._calls.reset(namespace, descriptors, rule=rule))


class SyncLimiterAdminClient(_Client[LimiterAdminCalls]):
    """LimiterAdminClient for code without an event loop; use it as a context manager."""

    def __init__(self, target: str, *, tenant: str = "default", timeout_s: float = 5.0) -> None:
        self._connection = BlockingConnection(target, tenant=tenant, timeout_s=timeout_s)
        self._calls = LimiterAdminCalls(self._connection)

    def inspect(self, namespace: str, descriptors: Mapping[str, str]) -> Inspection:
        """What the rules make of a request (see LimiterAdminClient)."""
        return run(self._calls.inspect(namespace, descriptors))

    def list_rules(self) -> list[NamespaceRules]:
        """The namespaces in use (see LimiterAdminClient)."""
        return run(self._calls.list_rules())

    def get_rules(self, namespace: str, version: int = 0) -> RulesText:
        """One namespace's rules as text."""
        return run(self._calls.get_rules(namespace, version))

    def validate_rules(self, namespace: str, text: str) -> list[RuleMistake]:
        """What is wrong with a text."""
        return run(self._calls.validate_rules(namespace, text))

    def set_rules(
        self,
        namespace: str,
        text: str = "",
        *,
        restore_version: int = 0,
        expected_version: int | None = None,
        comment: str = "",
    ) -> int:
        """Put one namespace's rules; returns their version."""
        calls = self._calls.set_rules(
            namespace, text, restore_version=restore_version, expected_version=expected_version, comment=comment
        )
        return run(calls)

    def delete_rules(self, namespace: str, *, expected_version: int | None = None, comment: str = "") -> int:
        """Take back what was put; returns the version that says so."""
        return run(self._calls.delete_rules(namespace, expected_version=expected_version, comment=comment))

    def reload_rules(self) -> list[RuleMistake]:
        """Make the replica read its file and the store now; what is wrong with the file."""
        return run(self._calls.reload_rules())

    def count_decisions(self) -> ReplicaCounts:
        """What each rule has said on the replica that answers."""
        return run(self._calls.count_decisions())


class SyncAdminClient(_Client[AdminCalls]):
    """AdminClient for code without an event loop; use it as a context manager."""

    def __init__(self, target: str, *, tenant: str = "default", timeout_s: float = 5.0) -> None:
        self._connection = BlockingConnection(target, tenant=tenant, timeout_s=timeout_s)
        self._calls = AdminCalls(self._connection)

    def queues(self) -> list[QueueSnapshot]:
        """All queues, by id."""
        return run(self._calls.queues())

    def queue(self, queue: str) -> QueueSnapshot:
        """One queue by its id; NotFound."""
        return run(self._calls.queue(queue))

    def workers(self, queue: str = "", *, live_only: bool = False) -> list[WorkerSnapshot]:
        """Workers of one queue or of all, by id; NotFound for the queue."""
        return run(self._calls.workers(queue, live_only=live_only))


class SyncSchedulerClient(_Client["SchedulerCalls[SyncJob]"]):
    """SchedulerClient for code without an event loop; use it as a context manager."""

    def __init__(self, target: str, *, tenant: str = "default", timeout_s: float = 5.0) -> None:
        self._connection = BlockingConnection(target, tenant=tenant, timeout_s=timeout_s)
        self._calls = SchedulerCalls(self._connection, lambda name, existing: SyncJob(name, self, existing=existing))

    def submit(self, submission: Submission, *, queue: str = "default") -> SyncJob:
        """Submit one job; when this returns, it is recorded."""
        return run(self._calls.submit(submission, queue=queue))

    def submit_task(self, task: Task[Any, Any], *args: Any, **kwargs: Any) -> SyncJob:
        """Submit a job of a task with these arguments, to the task's queue."""
        return self.submit(task.submission(*args, **kwargs), queue=task.queue)

    def submit_many(self, submissions: Sequence[Submission], *, queue: str = "default") -> list[SyncJob | ServiceError]:
        """Submit any number of jobs to one queue, in order; one outcome each (see SchedulerClient)."""
        return run(self._calls.submit_many(submissions, queue=queue))

    def job(self, name: str) -> SyncJob:
        """A handle on a job of this name; asks nothing."""
        return SyncJob(name, self)

    def get(self, name: str) -> JobSnapshot:
        """The job as it is now; NotFound."""
        return run(self._calls.get(name))

    def cancel(self, name: str) -> JobSnapshot:
        """Cancel a job: at once if no worker has it, otherwise its worker is asked. NotFound, FailedPrecondition."""
        return run(self._calls.cancel(name))

    def jobs(
        self, queue: str = "default", where: JobFilter = ANY_JOB, *, full: bool = False, page_size: int = 0
    ) -> Iterator[JobSnapshot]:
        """The jobs of a queue that the filter fits, page by page (see SchedulerClient)."""
        return iterate(self._calls.jobs(queue, where, full=full, page_size=page_size))

    def redrive(self, name: str) -> JobSnapshot:
        """Send a dead or cancelled job back (see SchedulerClient)."""
        return run(self._calls.redrive(name))

    def redrive_dead(
        self, queue: str = "default", where: JobFilter = ANY_JOB, *, limit: int | None = None
    ) -> Iterator[list[str]]:
        """Send dead jobs back, those first that died first (see SchedulerClient)."""
        return iterate(self._calls.redrive_dead(queue, where, limit=limit))

    def watch(
        self, names: Sequence[str], *, terminal_only: bool = False, timeout_s: float | None = None
    ) -> Iterator[JobSnapshot]:
        """Each job's present state, then its changes, until all have ended; at most 500 names, over one stream.

        Goes on over lost connections. NotFound for the first that does not exist, TimeoutError after `timeout_s`.
        """
        if len(names) > NAMES_MAX:
            raise ValueError(f"{len(names)} names; one watch follows at most {NAMES_MAX}")
        return map(JobSnapshot.from_proto, self.follow(names, terminal_only=terminal_only, timeout_s=timeout_s))

    def follow(self, names: Sequence[str], *, terminal_only: bool, timeout_s: float | None) -> Iterator[job_pb2.Job]:
        """What `watch` sees, as it came."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        left = dict.fromkeys(names)
        backoff = Backoff(0.05, 5.0)
        while left:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{len(left)} of the jobs had not ended after {timeout_s} s")
            self._connection.check()
            stub = SchedulerServiceStub(self._connection.open())
            request = pb.WatchJobsRequest(names=left, terminal_only=terminal_only)
            call: Any = stub.WatchJobs(request, metadata=self._connection.metadata, timeout=_left_s(deadline))
            try:
                for reply in call:
                    backoff.reset()
                    for job in reply.jobs:
                        if job.state in TERMINAL:
                            left.pop(job.name, None)
                        yield job
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and deadline is not None:
                    raise TimeoutError(f"{len(left)} of the jobs had not ended after {timeout_s} s") from None
                if error.code() not in CUT:
                    raise from_call(error) from None
            finally:
                call.cancel()
            if left:
                wait_s, rest_s = backoff.next_s(), _left_s(deadline)
                time.sleep(wait_s if rest_s is None else min(wait_s, rest_s))


def _left_s(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0.001)


class SyncJob:
    """A handle: the job's name, and what can be asked about it. Valid as long as its client is open."""

    __slots__ = ("_client", "existing", "name")

    def __init__(self, name: str, client: SyncSchedulerClient, *, existing: bool = False) -> None:
        self.name = name
        self.existing = existing
        """The job had been made by an earlier submit with the same request id."""
        self._client = client

    def __repr__(self) -> str:
        return f"SyncJob({self.name!r})"

    def get(self) -> JobSnapshot:
        """The job as it is now."""
        return self._client.get(self.name)

    def cancel(self) -> JobSnapshot:
        """Ask to cancel it: at once if no worker has it. FailedPrecondition if it has succeeded or is dead."""
        return self._client.cancel(self.name)

    def watch(self, *, timeout_s: float | None = None) -> Iterator[JobSnapshot]:
        """Its present state at once, then every change, until it has ended."""
        return self._client.watch([self.name], timeout_s=timeout_s)

    def ended(self, timeout_s: float | None = None) -> JobSnapshot:
        """Wait until it has ended, however it did. TimeoutError after `timeout_s`; the job goes on."""
        return JobSnapshot.from_proto(self._outcome(timeout_s))

    def result(self, timeout_s: float | None = None) -> Any:
        """Wait for what the handler returned: JSON decoded, other content as bytes, None for nothing.

        Raises JobFailed, JobCancelled, or TimeoutError after `timeout_s`.
        """
        return result_of(self._outcome(timeout_s))

    def _outcome(self, timeout_s: float | None) -> job_pb2.Job:
        *_, last = self._client.follow([self.name], terminal_only=True, timeout_s=timeout_s)
        return last
