"""The whole suite as child processes: backends, a limiter, a scheduler, workers; started and stopped in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from headworks_devkit import services
from headworks_devkit.backends import KafkaBackend, RedisBackend
from headworks_devkit.backends.chosen import chosen_kafka, chosen_redis
from headworks_devkit.ports import free_ports, is_free
from headworks_devkit.processes import Child
from headworks_devkit.services import Service
from headworks_devkit.together import together

HOST = "127.0.0.1"
USUAL_PORTS = (50051, 50052, 50053)


class PortTaken(RuntimeError):
    """Another process listens where the suite should."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the suite is reached."""

    limiter: str
    scheduler: str
    worker: str
    """The scheduler's port for workers."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    rules: Path
    tasks: str
    """Modules that the workers import, comma-separated."""
    queues: Path | None = None
    workers: int = 2
    slots: int = 100
    import_from: Sequence[Path] = ()
    """Folders put before the workers' import path."""
    env: Mapping[str, str] = field(default_factory=dict)
    """For every service, e.g. where to send spans."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A running suite."""

    addresses: Addresses
    redis: RedisBackend
    kafka: KafkaBackend
    processes: Sequence[Child]


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears what the processes do."""

    on_line: Callable[[str, str], None]
    """(process, line of its log)"""
    on_step: Callable[[str], None] = lambda _: None
    """What is being started."""
    on_death: Callable[[Child], None] = lambda _: None
    """A process ended that nobody had asked to."""


def usual_addresses() -> Addresses:
    """The documented ports. Raises PortTaken."""
    for port in USUAL_PORTS:
        if not is_free(port):
            message = f"{HOST}:{port} is taken by another process; stop it, or choose other ports with --any-ports"
            raise PortTaken(message)
    return Addresses(*(f"{HOST}:{port}" for port in USUAL_PORTS))


def free_addresses() -> Addresses:
    """Ports that nobody uses."""
    return Addresses(*(f"{HOST}:{port}" for port in free_ports(3)))


@asynccontextmanager
async def running_suite(plan: Plan, addresses: Addresses, listener: Listener) -> AsyncIterator[Suite]:
    """The suite, ready for calls, while the block runs; leaving it stops workers, services and backends in this order.

    Raises BackendUnavailable, or ChildFailed when a process does not start.
    """
    listener.on_step("Redis and Kafka")
    async with chosen_redis() as redis, chosen_kafka() as kafka:
        listener.on_step("limiter and scheduler")
        front = [
            services.limiter("limiter", address=addresses.limiter, redis=redis, rules=plan.rules),
            services.scheduler(
                "scheduler",
                address=addresses.scheduler,
                worker_address=addresses.worker,
                redis=redis,
                kafka=kafka,
                queues=plan.queues,
            ),
        ]
        async with together(*(_watched(each, plan, listener) for each in front)) as fronts:
            listener.on_step(f"{plan.workers} workers")
            mills = [_worker(plan, addresses, number) for number in range(1, plan.workers + 1)]
            async with together(*(_watched(each, plan, listener) for each in mills)) as workers:
                yield Suite(addresses, redis, kafka, (*fronts, *workers))
                listener.on_step("stopping")


def _worker(plan: Plan, addresses: Addresses, number: int) -> Service:
    return services.worker(
        f"worker-{number}",
        tasks=plan.tasks,
        scheduler=addresses.worker,
        api=addresses.scheduler,
        limiter=addresses.limiter,
        health=f"{HOST}:{free_ports(1)[0]}",
        slots=plan.slots,
    )


@asynccontextmanager
async def _watched(service: Service, plan: Plan, listener: Listener) -> AsyncIterator[Child]:
    """The service's process; its unexpected end is reported."""
    path = os.pathsep.join([*map(str, plan.import_from), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    env = {**plan.env, **({"PYTHONPATH": path} if path else {})}
    on_line = partial(listener.on_line, service.name)
    async with services.running(service, env=env, on_line=on_line) as process:
        watch = asyncio.create_task(_report_death(process, listener), name=f"{service.name} watch")
        try:
            yield process
        finally:
            process.stopping = True
            watch.cancel()
            await asyncio.wait([watch])


async def _report_death(process: Child, listener: Listener) -> None:
    await process.wait()
    if not process.stopping:
        listener.on_death(process)
