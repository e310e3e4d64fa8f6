"""The services as real processes for end-to-end tests: start, kill, stop, pause and restart them.

    async def test_a_killed_worker_loses_nothing(suite: Suite) -> None:
        await suite.limiter(rules="namespaces: ...")
        await suite.scheduler("scheduler-1", lease_s=2)
        worker = await suite.worker("worker-1", tasks="tests.e2e.tasks")
        async with SchedulerClient(suite.api) as client:
            ...
            await worker.kill()

Every process is reaped when the test ends; when it fails, the end of each log is in its report.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from headworks_devkit import services
from headworks_devkit.backends import KafkaBackend, RedisBackend
from headworks_devkit.ports import free_port
from headworks_devkit.processes import Child
from headworks_devkit.services import Service

ROOT = Path(__file__).parents[2]
LOG_LINES = 2_000
REPORTED_LINES = 80
HOST = "127.0.0.1"

LOGS = pytest.StashKey[dict[str, deque[str]]]()
"""On a test's node: the logs of its processes."""


@dataclass
class Suite:
    """Processes of one test around one Redis and (unless None) one Kafka."""

    redis: RedisBackend
    kafka: KafkaBackend | None
    folder: Path
    """Where files made for the processes go."""
    env: dict[str, str] = field(default_factory=dict)
    """Added to every process' environment."""
    logs: dict[str, deque[str]] = field(default_factory=dict)
    """The last lines of each process, by its name."""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _services: dict[str, Service] = field(default_factory=dict)
    _worker_targets: list[str] = field(default_factory=list)
    _children: dict[str, Child] = field(default_factory=dict)

    @property
    def api(self) -> str:
        """Target of all schedulers' API ports."""
        return _target([s.health for s in self._services.values() if s.module == "headworks_scheduler"])

    @property
    def limits(self) -> str:
        """Target of all limiters."""
        return _target([s.health for s in self._services.values() if s.module == "headworks_limiter"])

    @property
    def pids(self) -> dict[str, int]:
        """Of the processes that run, by name."""
        return {name: process.pid for name, process in self._children.items() if process.running}

    @property
    def worker_target(self) -> str:
        """Target of all schedulers' worker ports."""
        return _target(self._worker_targets)

    async def limiter(self, name: str = "limiter", *, rules: str, **settings: object) -> Child:
        """Start a limiter with these rules (YAML); `settings` are its settings (`replicas=2`)."""
        file = self.folder / f"{name}.rules.yaml"
        file.write_text(rules)
        return await self._start(services.limiter(name, address=_address(), redis=self.redis, rules=file, **settings))

    async def scheduler(self, name: str = "scheduler-1", *, queues: str = "", **settings: object) -> Child:
        """Start a scheduler; `queues` is YAML, `settings` are its settings (`lease_s=2`)."""
        file = self.folder / f"{name}.queues.yaml" if queues else None
        if file is not None:
            file.write_text(queues)
        address, worker_address = _address(), _address()
        self._worker_targets.append(worker_address)
        service = services.scheduler(
            name,
            address=address,
            worker_address=worker_address,
            redis=self.redis,
            kafka=self.kafka,
            queues=file,
            **settings,
        )
        return await self._start(service)

    async def worker(self, name: str = "worker-1", *, tasks: str, through: str = "", **settings: object) -> Child:
        """Start a worker for all schedulers started so far; `tasks` are modules to import, comma-separated.

        `through` is where it finds the schedulers' worker ports instead, e.g. a proxy's address.
        """
        service = services.worker(
            name,
            tasks=tasks,
            scheduler=through or self.worker_target,
            api=self.api,
            limiter=self.limits or f"{HOST}:{free_port()}",
            health=_address(),
            **settings,
        )
        return await self._start(service)

    async def restart(self, name: str) -> Child:
        """Start a process that has ended once more, with its settings and addresses."""
        return await self._start(self._services[name])

    async def _start(self, service: Service) -> Child:
        log = self.logs.setdefault(service.name, deque(maxlen=LOG_LINES))
        self._services[service.name] = service
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        env = {"PYTHONPATH": path, **self.env}
        process = await self._stack.enter_async_context(services.running(service, env=env, on_line=log.append))
        self._children[service.name] = process
        return process


@asynccontextmanager
async def running_suite(redis: RedisBackend, kafka: KafkaBackend | None, folder: Path) -> AsyncIterator[Suite]:
    """A suite without processes yet; in the end all are stopped, the last started first."""
    suite = Suite(redis, kafka, folder)
    async with suite._stack:
        yield suite


def report_logs(logs: dict[str, deque[str]], report: pytest.TestReport) -> None:
    """Add the end of each log to the report of a failed test."""
    for name, lines in logs.items():
        tail = list(lines)[-REPORTED_LINES:]
        report.sections.append((f"{name}, last {len(tail)} lines", "\n".join(tail)))


def _address() -> str:
    return f"{HOST}:{free_port()}"


def _target(addresses: list[str]) -> str:
    """A gRPC target for all of them."""
    return addresses[0] if len(addresses) == 1 else f"ipv4:{','.join(addresses)}" if addresses else ""
