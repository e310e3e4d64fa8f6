"""What callers import: clients of the limiter and the scheduler, `@task` and `@limited`.

The reader of completion events is `headworks_client.events`.
"""

from headworks_client.admin import AdminClient
from headworks_client.decisions import Decision, Learned, Refusal, RuleExplanation, RuleStatus
from headworks_client.filters import JobFilter
from headworks_client.holding import HoldLost
from headworks_client.jobs import Job, JobCancelled, JobFailed
from headworks_client.limited import limited
from headworks_client.limiter import LimiterClient, PermitRequest
from headworks_client.limiter_admin import LimiterAdminClient
from headworks_client.overview import QueueSnapshot, WorkerSnapshot, WorkerState
from headworks_client.payloads import Content
from headworks_client.refusals import LimitExceeded
from headworks_client.scheduler import SchedulerClient
from headworks_client.snapshots import Failure, FailureCategory, JobSnapshot, JobState, Progress
from headworks_client.submissions import Level, Retry, Submission
from headworks_client.sync import (
    SyncAdminClient,
    SyncJob,
    SyncLimiterAdminClient,
    SyncLimiterClient,
    SyncSchedulerClient,
)
from headworks_client.tasks import Task, task

__all__ = [
    "AdminClient",
    "Content",
    "Decision",
    "Failure",
    "FailureCategory",
    "HoldLost",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobFilter",
    "JobSnapshot",
    "JobState",
    "Learned",
    "Level",
    "LimitExceeded",
    "LimiterAdminClient",
    "LimiterClient",
    "PermitRequest",
    "Progress",
    "QueueSnapshot",
    "Refusal",
    "Retry",
    "RuleExplanation",
    "RuleStatus",
    "SchedulerClient",
    "Submission",
    "SyncAdminClient",
    "SyncJob",
    "SyncLimiterAdminClient",
    "SyncLimiterClient",
    "SyncSchedulerClient",
    "Task",
    "WorkerSnapshot",
    "WorkerState",
    "limited",
    "task",
]
