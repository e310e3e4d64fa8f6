"""The whole suite as child processes: backends, a limiter, a scheduler, workers; started and stopped in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from headworks_devkit import services
from headworks_devkit.backends import KafkaBackend, RedisBackend
from headworks_devkit.backends.chosen import chosen_kafka, chosen_redis
from headworks_devkit.ports import free_ports, is_free
from headworks_devkit.processes import Child, ChildFailed
from headworks_devkit.restarts import MOST_DEATHS, WITHIN_S, Restarts
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
    metrics: Mapping[str, str]
    """Addresses of the Prometheus pages, by process."""
    lost: asyncio.Future[None]
    """Raises ChildFailed once a process has died too often to be started again; never done otherwise."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears what the processes do."""

    on_line: Callable[[str, str], None]
    """(process, line of its log)"""
    on_step: Callable[[str], None] = lambda _: None
    """What is being started."""
    on_death: Callable[[ChildFailed, float], None] = lambda _, __: None
    """A process ended that nobody had asked to; it is started again in so many seconds."""


def usual_addresses() -> Addresses:
    """The documented ports. Raises PortTaken."""
    for port in USUAL_PORTS:
        if not is_free(port):
            message = f"{HOST}:{port} is taken by another process; stop it, or choose other ports with --any-ports"
            raise PortTaken(message)
    return Addresses(*(f"{HOST}:{port}" for port in USUAL_PORTS))


def free_addresses() -> Addresses:
    """Ports that nobody uses."""
    return Addresses(*_free(3))


def _free(count: int) -> list[str]:
    return [f"{HOST}:{port}" for port in free_ports(count)]


@asynccontextmanager
async def running_suite(plan: Plan, addresses: Addresses, listener: Listener) -> AsyncIterator[Suite]:
    """The suite, ready for calls, while the block runs; leaving it stops workers, services and backends in this order.

    A service or worker that dies is started again (see `Restarts`).

    Raises BackendUnavailable, or ChildFailed when a process does not start.
    """
    listener.on_step("Redis and Kafka")
    async with chosen_redis() as redis, chosen_kafka() as kafka:
        listener.on_step("limiter and scheduler")
        limiter_metrics, scheduler_metrics = _free(2)
        front = [
            services.limiter(
                "limiter", address=addresses.limiter, redis=redis, rules=plan.rules, metrics_address=limiter_metrics
            ),
            services.scheduler(
                "scheduler",
                address=addresses.scheduler,
                worker_address=addresses.worker,
                redis=redis,
                kafka=kafka,
                queues=plan.queues,
                metrics_address=scheduler_metrics,
            ),
        ]
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with together(*(_kept(each, plan, listener, lost) for each in front)):
            listener.on_step(f"{plan.workers} workers")
            mills = [_worker(plan, addresses, number) for number in range(1, plan.workers + 1)]
            async with together(*(_kept(each, plan, listener, lost) for each in mills)):
                yield Suite(addresses, redis, kafka, {each.name: each.metrics for each in (*front, *mills)}, lost)
                listener.on_step("stopping")


def _worker(plan: Plan, addresses: Addresses, number: int) -> Service:
    health, metrics = _free(2)
    return services.worker(
        f"worker-{number}",
        tasks=plan.tasks,
        scheduler=addresses.worker,
        api=addresses.scheduler,
        limiter=addresses.limiter,
        health=health,
        metrics_address=metrics,
        slots=plan.slots,
    )


@asynccontextmanager
async def _kept(service: Service, plan: Plan, listener: Listener, lost: asyncio.Future[None]) -> AsyncIterator[None]:
    """The service's process; when it ends by itself it is started again, until that is no use, which `lost` says."""
    path = os.pathsep.join([*map(str, plan.import_from), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    env = {**plan.env, **({"PYTHONPATH": path} if path else {})}
    start = partial(services.running, service, env=env, on_line=partial(listener.on_line, service.name))
    async with AsyncExitStack() as processes:
        keeping = _keep(await processes.enter_async_context(start()), start, processes, listener)
        keeper = asyncio.create_task(keeping, name=f"{service.name} keeper")
        keeper.add_done_callback(partial(_pass_on, lost))
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])


async def _keep(
    process: Child,
    start: Callable[[], AbstractAsyncContextManager[Child]],
    processes: AsyncExitStack,
    listener: Listener,
) -> None:
    """Raises ChildFailed once the process has died too often."""
    restarts = Restarts()
    died = await _death(process)
    while (delay_s := restarts.delay_s(asyncio.get_running_loop().time())) is not None:
        listener.on_death(died, delay_s)
        await asyncio.sleep(delay_s)
        try:
            process = await processes.enter_async_context(start())
            listener.on_step(f"{process.name} is back")
            died = await _death(process)
        except ChildFailed as error:
            died = error
    raise ChildFailed(f"given up after {MOST_DEATHS} deaths within {WITHIN_S:.0f} s: {died.brief}", died.log)


async def _death(process: Child) -> ChildFailed:
    code = await process.wait()
    return process.failed(f"has ended by itself (exit code {code})")


def _pass_on(lost: asyncio.Future[None], keeper: asyncio.Task[None]) -> None:
    if not keeper.cancelled() and (error := keeper.exception()) and not lost.done():
        lost.set_exception(error)
