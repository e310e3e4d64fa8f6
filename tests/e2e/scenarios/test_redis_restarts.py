"""Rows 5 and 6: Redis goes away, or refuses to write, and comes back, while jobs are submitted and run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from headworks_client import Job, JobState, SchedulerClient
from headworks_core.errors import ResourceExhausted, Unavailable
from headworks_core.names import uuid7
from headworks_core.store import redis_client
from headworks_devkit.backends import RedisBackend
from headworks_devkit.backends.valkey import valkey

from tests.e2e.scenarios.jobs import looked_at
from tests.e2e.tasks import add
from tests.support.suite import running_suite

DURABLE = {"appendonly": "yes", "appendfsync": "always"}
AFTER = 40
"""Batches that must be acknowledged after the fault."""
BEFORE = 10
BATCH = 20
PATIENCE_S = 60.0
REFUSING_S = 5.0


@dataclass
class Server:
    """A Valkey with a log on disk, which can be ended and brought back."""

    url: str
    folder: Path
    stack: AsyncExitStack

    async def away(self, seconds: float) -> None:
        """End it, and bring it back with what it had stored."""
        await self.stack.aclose()
        await asyncio.sleep(seconds)  # how long it is away is the fault itself
        port = urlsplit(self.url).port
        assert port is not None
        await self.stack.enter_async_context(valkey(DURABLE, port=port, directory=self.folder))

    async def tell(self, *command: str) -> None:
        """Run a command."""
        async with redis_client(self.url, timeout_s=10) as redis:
            await redis.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    folder = tmp_path / "valkey"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(valkey(DURABLE, directory=folder))
        yield Server(backend.url, folder, stack)


async def clients_killed(server: Server) -> None:
    """All connections, those that wait and those that listen too."""
    await server.tell("CLIENT", "KILL", "TYPE", "normal")
    await server.tell("CLIENT", "KILL", "TYPE", "pubsub")


async def refusing(server: Server, setting: str, value: int, usual: int) -> None:
    """A server that answers writes with an error, for longer than a lease."""
    await server.tell("CONFIG", "SET", setting, str(value))
    await asyncio.sleep(REFUSING_S)  # how long it refuses is the fault itself
    await server.tell("CONFIG", "SET", setting, str(usual))


FAULTS: dict[str, Callable[[Server], Awaitable[None]]] = {
    "away for 3 s": lambda server: server.away(3),
    "away for 30 s": lambda server: server.away(30),
    "clients killed": clients_killed,
    "scripts flushed": lambda server: server.tell("SCRIPT", "FLUSH", "SYNC"),
}


REFUSALS: dict[str, Callable[[Server], Awaitable[None]]] = {
    "NOREPLICAS": lambda server: refusing(server, "min-replicas-to-write", 1, 0),
    "OOM": lambda server: refusing(server, "maxmemory", 1, 0),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_05_what_was_acknowledged_survives_a_redis_that_comes_back(
    server: Server, tmp_path: Path, fault: str
) -> None:
    await survived(FAULTS[fault], server, tmp_path)


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_06_what_was_acknowledged_survives_a_redis_that_refuses_writes(
    server: Server, tmp_path: Path, refusal: str
) -> None:
    await survived(REFUSALS[refusal], server, tmp_path)


async def survived(fault: Callable[[Server], Awaitable[None]], server: Server, tmp_path: Path) -> None:
    """Nothing acknowledged is lost over the fault, nothing is left behind, and no process has to be started again."""
    async with running_suite(RedisBackend(server.url, "valkey"), None, tmp_path) as suite:
        for name in ("scheduler-1", "scheduler-2"):
            await suite.scheduler(name, lease_s=3, delivery_s=2, reconnect_grace_s=1)
        for name in ("worker-1", "worker-2"):
            await suite.worker(name, tasks="tests.e2e.tasks")
        async with SchedulerClient(suite.api) as client, submitting(client) as submitted:
            await submitted.reached(BEFORE)
            await fault(server)
            await submitted.reached(submitted.batches + AFTER)
            await submitted.stop()
            async with asyncio.timeout(PATIENCE_S):
                ends = await asyncio.gather(*(job.ended() for job in submitted.jobs))
            async with redis_client(server.url, timeout_s=10) as redis:
                left = [await redis.zcard("{hw:0}:leases"), await redis.hgetall("{hw:0}:q:default:counts")]
            snapshots = await looked_at(client, [job.name for job in submitted.jobs])
        assert set(suite.pids) == {"scheduler-1", "scheduler-2", "worker-1", "worker-2"}

    assert left == [0, {}]
    assert {job.state for job in ends} == {JobState.SUCCEEDED}
    assert {(job.state, job.generation, job.failures) for job in snapshots} == {(JobState.SUCCEEDED, 1, 0)}


class Submitted:
    """Batches of jobs, one after the other, each repeated until it is acknowledged."""

    def __init__(self, client: SchedulerClient) -> None:
        self.jobs: list[Job] = []
        self.batches = 0
        self._client = client
        self._grown = asyncio.Condition()
        self._stopping = False

    async def run(self) -> None:
        """Submit until `stop`."""
        while not self._stopping:
            batch = [add.options(request_id=uuid7()).submission(a=self.batches, b=n) for n in range(BATCH)]
            while True:
                outcomes = await self._client.submit_many(batch)
                failed = [outcome for outcome in outcomes if not isinstance(outcome, Job)]
                if not failed:
                    break
                assert all(isinstance(error, Unavailable | ResourceExhausted) for error in failed), failed
            self.jobs += [outcome for outcome in outcomes if isinstance(outcome, Job)]
            self.batches += 1
            async with self._grown:
                self._grown.notify_all()

    async def reached(self, batches: int) -> None:
        """Wait until so many are acknowledged."""
        async with asyncio.timeout(PATIENCE_S), self._grown:
            await self._grown.wait_for(lambda: self.batches >= batches)

    async def stop(self) -> None:
        """End after the present batch."""
        self._stopping = True
        await self.reached(self.batches + 1)


@asynccontextmanager
async def submitting(client: SchedulerClient) -> AsyncIterator[Submitted]:
    """Submit while the block runs."""
    submitted = Submitted(client)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(submitted.run())
        yield submitted
        running.cancel()
