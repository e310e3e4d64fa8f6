"""What the writer of tasks imports: `@task`, `Context`, and the exceptions that say how a failure is to be treated."""

from headworks_client.payloads import Content
from headworks_client.submissions import Level, Retry
from headworks_client.tasks import Task, task

from headworks_worker.context import Context
from headworks_worker.errors import PermanentError, RegistrationError, RetryLater
from headworks_worker.worker import Worker

__all__ = [
    "Content",
    "Context",
    "Level",
    "PermanentError",
    "RegistrationError",
    "Retry",
    "RetryLater",
    "Task",
    "Worker",
    "task",
]
