"""The scheduler's settings."""

from __future__ import annotations

from typing import Literal

from headworks_core.address import Kind, parse
from headworks_core.settings import ServiceSettings
from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict


class Settings(ServiceSettings):
    """All the scheduler can be told, read once at start from HEADWORKS_SCHEDULER_<FIELD> or --<field>."""

    model_config = SettingsConfigDict(env_prefix="HEADWORKS_SCHEDULER_", cli_prog_name="headworks-scheduler")

    address: str = "127.0.0.1:50052"
    """Where callers reach SchedulerService."""
    worker_address: str = "127.0.0.1:50053"
    """Where workers open their sessions; a port of its own, so that streams do not crowd out calls."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """The store, one server; it must not evict (maxmemory-policy noeviction)."""
    redis_timeout_s: float = Field(5.0, gt=0, le=60)
    """Seconds after which a command counts as failed."""
    cells: int = Field(1, ge=1, le=1024)
    """Hash tags that the state is spread over; fixed by the first replica that ever starts. 64 suits a cluster."""
    events: Literal["kafka", "none"] = "kafka"
    """Where completion events go; fixed by the first replica that ever starts."""
    kafka_bootstrap: str = "127.0.0.1:9092"
    """Kafka brokers, comma-separated."""
    kafka_topic: str = "headworks.jobs.v1"
    """Topic of the events; may contain {tenant}."""
    kafka_timeout_s: float = Field(30.0, ge=1, le=600)
    """Seconds that Kafka may leave events unanswered before they are sent again over a new connection."""
    queues_file: str = ""
    """YAML file with the queues; without one there is the queue "default"."""
    lease_s: float = Field(30.0, ge=0.1, le=3600)
    """Seconds that a lease lasts after the last heartbeat that listed it."""
    delivery_s: float = Field(5.0, ge=0.1, le=600)
    """Seconds that a new lease lasts until a heartbeat lists it."""
    attach_timeout_s: float = Field(10.0, ge=0.1, le=600)
    """Seconds that a new session has for its first message."""
    reconnect_grace_s: float = Field(10.0, ge=0, le=600)
    """Seconds after this replica's start, or Redis' return, during which no lease is reaped."""
    lost_leases_max: int = Field(3, ge=0, le=100)
    """Leases that a job may lose before it is a dead letter (POISON)."""
    retention_s: float = Field(86_400.0, ge=1, le=31_622_400)
    """Seconds that finished jobs and their results are kept, unless their queue says otherwise."""
    finished_max: int = Field(1_000_000, ge=1_000)
    """Finished jobs that a cell keeps at most; the oldest go first."""
    outbox_max: int = Field(1_000_000, ge=1_000)
    """Events waiting for Kafka in a cell, from which on submits are refused (OUTBOX_FULL)."""
    max_payload_bytes: int = Field(262_144, ge=1, le=1_048_576)
    """Largest payload, and largest result."""

    @field_validator("redis_url")
    @classmethod
    def _one_server(cls, value: str) -> str:
        if parse(value).kind is not Kind.SERVER:
            raise ValueError("must name one server, redis:// or rediss://; clusters and sentinels are for limiters")
        return value
