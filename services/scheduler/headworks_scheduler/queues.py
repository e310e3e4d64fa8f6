"""The platform's queues, from a YAML file; every mistake is listed at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from headworks_core.errors import NotFound, Reason, ServiceError
from headworks_core.names import LANE, QUEUE, TENANT
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from headworks_scheduler.domain.jobs import Queue
from headworks_scheduler.domain.retry import RetryPolicy

_UNIT_US = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def _duration_us(value: object) -> object:
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d)", str(value))
    if match is None:
        raise ValueError("must be a whole number and a unit: ms, s, m, h or d, e.g. 30s")
    return int(match[1]) * _UNIT_US[match[2]]


WEIGHTS_MAX = 1_000  # they travel with every claim
Weight = Annotated[int, Field(ge=1, le=1000)]
_Tenant = Annotated[str, Field(pattern=f"^{TENANT.pattern}$")]
_Lane = Annotated[str, Field(pattern=f"^{LANE.pattern}$")]
Duration = Annotated[int, BeforeValidator(_duration_us), Field(ge=1_000)]


class _Retry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    max_attempts: int = Field(default=5, ge=1, le=100)
    initial_backoff: Duration = Field(default=1_000_000, le=86_400_000_000)
    max_backoff: Duration = Field(default=300_000_000, le=604_800_000_000)
    multiplier: float = Field(default=2.0, ge=1, le=10)
    jitter: float = Field(default=0.5, ge=0, le=1)


class _Queue(BaseModel):
    model_config = ConfigDict(extra="forbid")
    max_size: int = Field(default=1_000_000, ge=1)
    max_size_per_tenant: int | None = Field(default=None, ge=1)
    attempt_timeout: Duration = Field(default=1_800_000_000, le=604_800_000_000)
    retry: _Retry = _Retry()
    retention: Duration | None = Field(default=None, ge=1_000_000, le=31_622_400_000_000)
    max_finished: int | None = Field(default=None, ge=1)
    tenant_weights: dict[Annotated[str, Field(pattern=f"^{TENANT.pattern}$")], Weight] = Field(
        default={}, max_length=1000
    )
    lane_weights: dict[Annotated[str, Field(pattern=f"^{LANE.pattern}$")], Weight] = Field(default={}, max_length=1000)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    queues: dict[Annotated[str, Field(pattern=f"^{QUEUE.pattern}$")], _Queue | None] = Field(min_length=1)


class QueuesFileError(ServiceError):
    """The queues file cannot be used; the message lists every mistake."""


class Queues:
    """The queues by name."""

    def __init__(self, queues: Mapping[str, Queue]) -> None:
        self._queues = dict(queues)

    def get(self, name: str) -> Queue:
        """The queue; NotFound (QUEUE_NOT_FOUND) if there is none of that name."""
        queue = self._queues.get(name)
        if queue is None:
            known = ", ".join(sorted(self._queues)[:20])
            raise NotFound(f"there is no queue {name}; the queues are: {known}", reason=Reason.QUEUE_NOT_FOUND)
        return queue

    def all(self) -> list[Queue]:
        """Every queue, by name."""
        return [queue for _, queue in sorted(self._queues.items())]

    def __len__(self) -> int:
        return len(self._queues)


def load_queues(path: str) -> Queues:
    """Read the file; an empty path gives the one queue `default`. Raises QueuesFileError."""
    if not path:
        return Queues({"default": Queue()})
    try:
        parsed: Any = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise QueuesFileError(f"{path}: {error}") from error
    try:
        file = _File.model_validate(parsed)
    except ValidationError as error:
        mistakes = [f"{path}: {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise QueuesFileError("\n".join(mistakes)) from error
    return Queues({name: _queue(name, entry or _Queue()) for name, entry in file.queues.items()})


def _queue(name: str, entry: _Queue) -> Queue:
    retry = entry.retry
    policy = RetryPolicy(
        max_attempts=retry.max_attempts,
        initial_us=retry.initial_backoff,
        max_us=max(retry.max_backoff, retry.initial_backoff),
        multiplier_milli=round(retry.multiplier * 1000),
        jitter_milli=round(retry.jitter * 1000),
    )
    return Queue(
        name=name,
        max_size=entry.max_size,
        max_size_per_tenant=entry.max_size_per_tenant or entry.max_size,
        attempt_timeout_us=entry.attempt_timeout,
        retry=policy,
        retention_us=entry.retention or 0,
        max_finished=entry.max_finished or 0,
        tenant_weights=entry.tenant_weights,
        lane_weights=entry.lane_weights,
    )
