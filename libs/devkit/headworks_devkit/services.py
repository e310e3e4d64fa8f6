"""The services as processes: which module, which settings, where to ask for health."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from headworks_devkit.backends import KafkaBackend, RedisBackend
from headworks_devkit.health import wait_serving
from headworks_devkit.processes import Child, OnLine, child

START_TIMEOUT_S = 20.0
DEVELOPMENT_REDIS_TIMEOUT_MS = 1_000
"""All share one machine, whose busy processors are no failing Redis."""


@dataclass(frozen=True, slots=True)
class Service:
    """How to start one service process."""

    name: str
    """For people: in logs and messages."""
    module: str
    env: Mapping[str, str]
    health: str
    """Address of its health service."""

    @property
    def metrics(self) -> str:
        """Where its Prometheus page is; empty if a free port is taken, which its log tells."""
        (address,) = [value for name, value in self.env.items() if name.endswith("_METRICS_ADDRESS")] or [""]
        return address


def limiter(name: str, *, address: str, redis: RedisBackend, rules: Path, **more: object) -> Service:
    """A limiter replica. `more` are settings of its own, e.g. `replicas=2`."""
    patience = {"redis_timeout_ms": DEVELOPMENT_REDIS_TIMEOUT_MS, **more}
    env = _settings("LIMITER", replica=name, address=address, redis_url=redis.url, rules_file=rules, **patience)
    return Service(name, "headworks_limiter", env, address)


def scheduler(
    name: str,
    *,
    address: str,
    worker_address: str,
    redis: RedisBackend,
    kafka: KafkaBackend | None,
    queues: Path | None = None,
    **more: object,
) -> Service:
    """A scheduler replica; without `kafka` it sends no events. `more` are settings of its own, e.g. `lease_s=2`."""
    events = {"events": "none"} if kafka is None else {"events": "kafka", "kafka_bootstrap": kafka.bootstrap}
    env = _settings(
        "SCHEDULER",
        replica=name,
        address=address,
        worker_address=worker_address,
        redis_url=redis.url,
        queues_file=queues or "",
        **events,
        **more,
    )
    return Service(name, "headworks_scheduler", env, address)


def worker(name: str, *, tasks: str, scheduler: str, api: str, limiter: str, health: str, **more: object) -> Service:
    """A worker process. `scheduler` is the target of the worker port, `api` that of the callers' port."""
    env = _settings(
        "WORKER",
        name=name,
        tasks=tasks,
        scheduler=scheduler,
        api=api,
        limiter=limiter,
        health_address=health,
        **more,
    )
    return Service(name, "headworks_worker", env, health)


def _settings(service: str, **fields: object) -> dict[str, str]:
    return {f"HEADWORKS_{service}_{field.upper()}": str(value) for field, value in fields.items()}


@asynccontextmanager
async def running(
    service: Service,
    *,
    env: Mapping[str, str] | None = None,
    on_line: OnLine | None = None,
    timeout_s: float = START_TIMEOUT_S,
    grace_s: float = 15.0,
) -> AsyncIterator[Child]:
    """The service's process while the block runs, from the moment it says that it is ready.

    `env` (tracing, import path) is added to its settings. Raises ChildFailed, with the end of its log.
    """
    argv = [sys.executable, "-m", service.module]
    settings = {**(env or {}), **service.env}
    async with child(service.name, argv, env=settings, on_line=on_line, grace_s=grace_s) as process:
        await wait_serving(process, service.health, timeout_s)
        yield process
