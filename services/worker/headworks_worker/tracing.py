"""The span of an attempt."""

from __future__ import annotations

from contextlib import AbstractContextManager

from headworks_core import telemetry
from opentelemetry.trace import Span

from headworks_worker.attempts import Attempt


def attempt_span(attempt: Attempt) -> AbstractContextManager[Span]:
    """A CONSUMER span: the first attempt continues its submit's trace, later and delayed ones begin a linked one."""
    spec = attempt.spec
    name = f"process {spec.task}"
    attributes: telemetry.Attributes = {
        "messaging.system": "headworks",
        "messaging.operation.type": "process",
        "app.job.name": attempt.key[0],
        "app.job.attempt": attempt.number,
    }
    if attempt.number > 1 or spec.HasField("delay"):
        return telemetry.root_span(name, telemetry.CONSUMER, attributes, links=[attempt.trace])
    return telemetry.span(name, telemetry.CONSUMER, attempt.trace, attributes)
