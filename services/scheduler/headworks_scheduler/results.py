"""How the results that workers send become transitions."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks_core.errors import InvalidArgument
from headworks_core.names import CONTENT_TYPE
from headworks_core.telemetry import is_sampled

from headworks_scheduler.domain.jobs import Completion, FailedAttempt, Release
from headworks_scheduler.store.jobs import JobStore

CLASS_MAX, MESSAGE_MAX, TRACE_MAX = 200, 2_000, 16_000
RELEASE_MAX_US = 3_600_000_000
RETRY_MAX_US = 604_800_000_000
CATEGORIES = frozenset(job_pb2.FailureCategory.values()) - {job_pb2.FAILURE_CATEGORY_UNSPECIFIED}


def split_name(name: str) -> tuple[int, str]:
    """Cell and ref of a job's name; InvalidArgument if it is none. The fast way, for names that were made here."""
    try:
        _, tenant, _, queue, _, job = name.split("/")
        cell, _, tail = job.partition("-")
        return int(cell), f"{tenant}/{queue}/{tail}"
    except ValueError as error:
        raise InvalidArgument(f"{name[:200]!r} is no job's name") from error


@dataclass
class CellResults:
    """The results of one cell, by what they ask of the store, each with its index in the message."""

    completed: list[Completion] = field(default_factory=list)
    completed_at: list[int] = field(default_factory=list)
    failed: list[FailedAttempt] = field(default_factory=list)
    failed_at: list[int] = field(default_factory=list)
    released: list[Release] = field(default_factory=list)
    released_at: list[int] = field(default_factory=list)
    traceparent: str = ""
    """Of the first sampled result."""


class ResultRecorder:
    """Records batches of results."""

    def __init__(self, store: JobStore, cells: int, *, max_result_bytes: int) -> None:
        self._store = store
        self._cells = cells
        self._max_result_bytes = max_result_bytes

    async def record(self, results: Iterable[pb.Result]) -> list[int]:
        """Record all; the indexes of those whose lease was lost. InvalidArgument before anything is recorded."""
        lost: list[int] = []
        for cell, sorted_results in self._sort(results).items():
            lost += await self._record_cell(cell, sorted_results)
        return lost

    async def _record_cell(self, cell: int, results: CellResults) -> list[int]:
        trace = results.traceparent
        lost: list[int] = []
        if results.completed:
            recorded = await self._store.complete(cell, results.completed, traceparent=trace)
            lost += _lost(results.completed_at, recorded)
        if results.failed:
            recorded = await self._store.fail(cell, results.failed, traceparent=trace)
            lost += _lost(results.failed_at, recorded)
        if results.released:
            recorded = await self._store.release(cell, results.released, traceparent=trace)
            lost += _lost(results.released_at, recorded)
        return lost

    def _sort(self, results: Iterable[pb.Result]) -> dict[int, CellResults]:
        cells: dict[int, CellResults] = {}
        for index, result in enumerate(results):
            cell, ref = split_name(result.job)
            if not 0 <= cell < self._cells:
                raise InvalidArgument(f"{result.job} names a cell that does not exist")
            of_cell = cells.get(cell)
            if of_cell is None:
                of_cell = cells[cell] = CellResults()
            if result.traceparent and not of_cell.traceparent and is_sampled(result.traceparent):
                of_cell.traceparent = result.traceparent
            self._add(of_cell, index, ref, result)
        return cells

    def _add(self, cell: CellResults, index: int, ref: str, result: pb.Result) -> None:
        outcome = result.WhichOneof("outcome")
        if outcome == "success":
            payload = result.success.result
            wrong = self._wrong_result(payload)
            if wrong is None:
                content_type = payload.content_type or "application/json"
                cell.completed_at.append(index)
                cell.completed.append(Completion(ref, result.lease_id, payload.data, content_type, result.traceparent))
                return
            result = pb.Result(job=result.job, lease_id=result.lease_id, failed=pb.Failed(failure=wrong))
            outcome = "failed"
        if outcome == "failed":
            cell.failed_at.append(index)
            cell.failed.append(_failed(ref, result))
        elif outcome == "released":
            delay_us = min(max(result.released.delay.ToMicroseconds(), 0), RELEASE_MAX_US)
            cell.released_at.append(index)
            cell.released.append(Release(ref, result.lease_id, delay_us, result.traceparent))
        else:
            raise InvalidArgument(f"result {index} of {result.job} has no outcome")

    def _wrong_result(self, payload: job_pb2.Payload) -> job_pb2.Failure | None:
        size = len(payload.data)
        if size > self._max_result_bytes:
            name, message = "ResultTooLarge", f"the result has {size} bytes; at most {self._max_result_bytes}"
        elif not CONTENT_TYPE.fullmatch(payload.content_type):
            name, message = (
                "InvalidContentType",
                "the result's content type is not at most 100 printable characters of ASCII",
            )
        else:
            return None
        return job_pb2.Failure(error_class=name, message=message, category=job_pb2.FAILURE_CATEGORY_PERMANENT)


def _failed(ref: str, result: pb.Result) -> FailedAttempt:
    reported = result.failed.failure
    category = reported.category if reported.category in CATEGORIES else job_pb2.FAILURE_CATEGORY_TRANSIENT
    failure = job_pb2.Failure(
        error_class=reported.error_class[:CLASS_MAX] or "Error",
        message=reported.message[:MESSAGE_MAX],
        category=category,
    )
    event_failure = failure.SerializeToString()
    failure.trace = reported.trace[-TRACE_MAX:]
    retry_after_us = -1
    if result.failed.HasField("retry_after"):
        retry_after_us = min(max(result.failed.retry_after.ToMicroseconds(), 0), RETRY_MAX_US)
    return FailedAttempt(
        ref,
        result.lease_id,
        failure.SerializeToString(),
        event_failure,
        category != job_pb2.FAILURE_CATEGORY_PERMANENT,
        retry_after_us,
        random.randrange(1000),
        result.traceparent,
    )


def _lost(indexes: list[int], recorded: list[bool]) -> list[int]:
    return [index for index, kept in zip(indexes, recorded, strict=True) if not kept]
