"""Which jobs: for lists and redrives."""

from __future__ import annotations

from dataclasses import dataclass

from headworks.scheduler.v1 import scheduler_service_pb2 as pb

from headworks_client.snapshots import FailureCategory, JobState


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Everything that is set must fit. `lane=""` is the empty lane, None any lane."""

    state: JobState | None = None
    task: str = ""
    lane: str | None = None
    category: FailureCategory | None = None
    error_class: str = ""

    def to_proto(self) -> pb.JobFilter:
        """The filter on the wire. ValueError for UNKNOWN, which stands for what this version does not know."""
        if self.state is JobState.UNKNOWN or self.category is FailureCategory.UNKNOWN:
            raise ValueError("UNKNOWN cannot be asked for")
        return pb.JobFilter(
            state=f"JOB_STATE_{self.state or 'UNSPECIFIED'}",
            task=self.task,
            lane=self.lane,
            category=f"FAILURE_CATEGORY_{self.category or 'UNSPECIFIED'}",
            error_class=self.error_class,
        )
