"""The worker's settings."""

from __future__ import annotations

from typing import Literal

from headworks_core.names import QUEUE, WORKER
from headworks_core.settings import ServiceSettings
from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict


class Settings(ServiceSettings):
    """All a worker can be told, read once at start from HEADWORKS_WORKER_<FIELD> or --<field>."""

    model_config = SettingsConfigDict(env_prefix="HEADWORKS_WORKER_", cli_prog_name="headworks-worker")

    tasks: str = ""
    """Modules with the tasks to run, comma-separated; each must be importable from here."""
    queues: str = "default"
    """Queues to serve, comma-separated, each with a weight from 1 to 1000 if you like: a=3,b=1."""
    queue_order: Literal["weighted", "strict"] = "weighted"
    """weighted: queues with work take turns by weight; strict: a queue only when those before it are empty."""
    slots: int = Field(100, ge=1, le=10_000)
    """Jobs run at a time."""
    name: str = ""
    """This worker's id in logs and jobs; empty: made from host name and process id."""
    scheduler: str = "127.0.0.1:50053"
    """The scheduler's worker port."""
    api: str = "127.0.0.1:50052"
    """The scheduler's API port, for handlers that submit jobs; connected when first used."""
    limiter: str = "127.0.0.1:50051"
    """The limiter, for handlers that ask for permits; connected when first used."""
    tenant: str = "default"
    """Whose jobs and permits handlers submit and take."""
    health_address: str = ""
    """Where to serve grpc.health.v1; empty: nowhere."""

    @field_validator("name")
    @classmethod
    def _names_a_worker(cls, value: str) -> str:
        if value and not WORKER.fullmatch(value):
            raise ValueError(f"must match {WORKER.pattern}")
        return value

    @field_validator("queues")
    @classmethod
    def _readable(cls, value: str) -> str:
        parse_queues(value)
        return value

    @property
    def worker_id(self) -> str:
        """The id of this worker, unique on its network."""
        return self.name or self.replica_id


def parse_queues(text: str) -> dict[str, int]:
    """`a=3,b` as {"a": 3, "b": 1}, in order. Raises ValueError."""
    queues: dict[str, int] = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition("=")
        if not QUEUE.fullmatch(name):
            raise ValueError(f"{name!r} is no queue: must match {QUEUE.pattern}")
        if name in queues:
            raise ValueError(f"queue {name} is named twice")
        if weight and not (weight.isdigit() and 1 <= int(weight) <= 1000):
            raise ValueError(f"weight {weight!r} of queue {name}: a whole number, 1 to 1000")
        queues[name] = int(weight or 1)
    if len(queues) > 64:
        raise ValueError("at most 64 queues")
    return queues
