"""The whole suite as real processes, with a proxy in every connection between two of them.

    caller --api--> scheduler --redis--> Valkey        limiter --redis--> Valkey
    worker --work--> scheduler --kafka--> Kafka        caller, worker --permits--> limiter

Each scheduler, limiter and worker has proxies of its own, so that one of them can be cut off alone.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from headworks_core.store import redis_client
from headworks_devkit import services
from headworks_devkit.backends import KafkaBackend, RedisBackend
from headworks_devkit.backends.kafka_apache import apache_kafka
from headworks_devkit.ports import free_port
from redis.asyncio import Redis

from tests.chaos.history import Rule
from tests.chaos.processes import Exit, Process, Store
from tests.chaos.tasks import LOGS
from tests.support.proxy import HOST, Proxy, proxy
from tests.support.suite import ROOT

CELLS = 2
QUEUES = ("alpha", "beta")
TENANTS = ("a", "b", "c")
TOPIC = "chaos.jobs.v1"
LEASE_S, DELIVERY_S, GRACE_S = 3.0, 2.0, 1.0
LOST_MAX = 3
REDIS_TIMEOUT_S = 2.0
RETENTION_S = 900
SLOTS = 60
LIMITERS = ("limiter-1", "limiter-2")
SCHEDULERS = ("scheduler-1", "scheduler-2")
WORKERS = ("worker-1", "worker-2", "worker-3")
RULES = (
    Rule("smooth", "gcra", 20, 1.0, burst=10),
    Rule("windowed", "fixed_window", 15, 1.0),
    Rule("handlers", "gcra", 15, 1.0, burst=15),
)

RULES_FILE = """
namespaces:
  calls:
    rules:
      - {name: smooth, match: {what: smooth}, limit: 20, per: 1s, burst: 10}
      - {name: windowed, match: {what: windowed}, limit: 15, per: 1s, algorithm: fixed_window}
  handlers:
    rules:
      - {name: handlers, match: {bucket: "*"}, limit: 15, per: 1s}
"""
QUEUES_FILE = """
queues:
  alpha: {}
  beta: {tenant_weights: {a: 3}}
"""


def job_name(tenant: str, queue: str, request_id: str) -> str:
    """How a job submitted with this id is called."""
    return f"tenants/{tenant}/queues/{queue}/jobs/{zlib.crc32(queue.encode()) % CELLS}-{request_id}"


class Cluster:
    """The processes, by name, and the proxies, by `<link>:<owner>` such as `redis:scheduler-1`."""

    def __init__(self, folder: Path, store: Store, kafka: KafkaBackend, redis: Redis) -> None:
        self.folder = folder
        self.store = store
        self.kafka = kafka
        """As schedulers reach it: through the proxy. Its own address is the subscriber's."""
        self.redis = redis
        """A client of our own, through no proxy."""
        self.proxies: dict[str, Proxy] = {}
        self.processes: dict[str, Process] = {}
        self.exits: list[Exit] = []

    def links(self, kind: str) -> list[str]:
        """The proxies of one kind: redis, kafka, api, work, permits."""
        return [name for name in self.proxies if name.startswith(f"{kind}:")]

    def target(self, kind: str) -> str:
        """A gRPC target for all proxies of one kind (and owner: `work:worker-1`)."""
        return "ipv4:" + ",".join(p.address for name, p in self.proxies.items() if name.startswith(f"{kind}:"))

    async def end(self) -> None:
        """Stop every process, all at the same time."""
        await asyncio.gather(*(process.end() for process in self.processes.values()))

    async def heal(self, timeout_s: float) -> list[str]:
        """End every fault of the network; wait until everybody says that it is ready. Returns who does not."""
        for link in self.proxies.values():
            await link.clear()
        found = await asyncio.gather(*(process.ready(timeout_s) for process in self.processes.values()))
        return [name for name, ready in zip(self.processes, found, strict=True) if not ready]


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    """All of it, running; in the end everything is stopped."""
    async with AsyncExitStack() as stack:
        front = await stack.enter_async_context(proxy(f"{HOST}:9"))
        front.target = f"{HOST}:{free_port()}"
        second = (int(front.target.rpartition(":")[2]), front.port)
        broker = await stack.enter_async_context(apache_kafka(second_listener=second))
        data = Path(tempfile.mkdtemp(prefix="valkey-", dir=folder))
        store = Store(data)
        await store.begin()
        stack.push_async_callback(store.end)
        url = f"redis://{HOST}:{store.port}/0"
        redis = await stack.enter_async_context(redis_client(url, timeout_s=10))
        running = Cluster(folder, store, broker, redis)
        running.proxies["kafka:all"] = front
        specs = await _services(running, stack)
        env = {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
            LOGS: str(folder / "handlers"),
        }
        (folder / "handlers").mkdir(exist_ok=True)
        for spec in specs:
            process = Process(spec, env, running.exits.append)
            running.processes[spec.name] = process
        stack.push_async_callback(running.end)
        await asyncio.gather(*(process.begin() for process in running.processes.values()))
        slow = await running.heal(30)
        if slow:
            log = "\n".join(running.processes[slow[0]].log)
            raise RuntimeError(f"not ready at the start: {slow}\n{log}")
        yield running


async def _services(running: Cluster, stack: AsyncExitStack) -> list[services.Service]:
    """What to start, each behind its own proxies."""

    async def behind(link: str, target: str) -> str:
        running.proxies[link] = await stack.enter_async_context(proxy(target))
        return running.proxies[link].address

    redis_address = f"{HOST}:{running.store.port}"
    rules, queues = running.folder / "rules.yaml", running.folder / "queues.yaml"
    rules.write_text(RULES_FILE)
    queues.write_text(QUEUES_FILE)
    kafka = KafkaBackend(running.proxies["kafka:all"].address, "apache", "behind a proxy")
    specs: list[services.Service] = []
    for name in LIMITERS:
        own = RedisBackend(f"redis://{await behind(f'redis:{name}', redis_address)}/0", "valkey")
        address = f"{HOST}:{free_port()}"
        await behind(f"permits:{name}", address)
        specs.append(services.limiter(name, address=address, redis=own, rules=rules, replicas=2, cells=CELLS))
    ports: dict[str, str] = {}
    for name in SCHEDULERS:
        own = RedisBackend(f"redis://{await behind(f'redis:{name}', redis_address)}/0", "valkey")
        address, ports[name] = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
        await behind(f"api:{name}", address)
        more: dict[str, Any] = {"address": address, "worker_address": ports[name], **_TIMES}
        specs.append(services.scheduler(name, redis=own, kafka=kafka, queues=queues, **more))
    for name in WORKERS:
        for scheduler, port in ports.items():
            await behind(f"work:{name}:{scheduler}", port)
        own_work = running.target(f"work:{name}")
        targets = {"scheduler": own_work, "api": running.target("api"), "limiter": running.target("permits")}
        more = {"health": f"{HOST}:{free_port()}", "queues": ",".join(QUEUES), "slots": SLOTS, "shutdown_grace_s": 2}
        specs.append(services.worker(name, tasks="tests.chaos.tasks", **targets, **more))
    return specs


_TIMES: Mapping[str, object] = {
    "lease_s": LEASE_S,
    "delivery_s": DELIVERY_S,
    "reconnect_grace_s": GRACE_S,
    "lost_leases_max": LOST_MAX,
    "redis_timeout_s": REDIS_TIMEOUT_S,
    "retention_s": RETENTION_S,
    "kafka_topic": TOPIC,
    "cells": CELLS,
    "shutdown_grace_s": 3,
}


def now() -> float:
    """The clock of every record."""
    return time.time()
