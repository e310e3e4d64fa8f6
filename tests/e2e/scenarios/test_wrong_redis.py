"""A Redis that is not fit: each service says in one line which server and what is wrong with it, and ends with 1."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from headworks_core.store import redis_client
from headworks_devkit import services
from headworks_devkit.backends import RedisBackend
from headworks_devkit.backends.valkey import valkey
from headworks_devkit.health import wait_serving
from headworks_devkit.ports import free_ports
from headworks_devkit.processes import Child, child
from headworks_devkit.services import Service

from tests.support import wrong_redis as wrong
from tests.support.health import is_ready
from tests.support.suite import running_suite
from tests.support.wait import wait_until

RULES = "namespaces: {n: {rules: [{name: r, match: {user: '*'}, limit: 1, per: 1s}]}}\n"
META = {"schema": "1.0", "cells": "1", "events": "none"}

BOTH: list[tuple[str, wrong.Server, str]] = [
    ("old-redis", wrong.of_version("redis", "7.0.15"), "is redis 7.0.15; redis 7.2 or newer is needed"),
    ("old-valkey", wrong.of_version("valkey", "7.2.9"), "is valkey 7.2.9; valkey 8.0 or newer is needed"),
    ("newer-schema", wrong.with_meta(**{**META, "schema": "2.0"}), "hw:meta has schema 2.0; this release understands"),
    ("foreign-schema", wrong.with_meta(**{**META, "schema": "one"}), "hw:meta has schema 'one'"),
    ("other-cells", wrong.with_meta(**{**META, "cells": "7"}), "hw:meta says cells = 7, this replica was told 1"),
    ("foreign-meta", wrong.prepared(lambda redis: redis.set("hw:meta", "mine")), "WRONGTYPE"),
    ("slot-missing", wrong.cluster(missing=1), "serves 16383 of 16384 slots"),
    ("slots-missing", wrong.cluster(missing=9_000, full_coverage=False), "serves 7384 of 16384 slots"),
    ("replica", wrong.replica, "is a read-only replica; name its primary"),
    ("wrong-password", lambda: wrong.with_password("left"), "refuses the user or the password"),
    ("no-password", wrong.with_password, "refuses the user or the password"),
    ("tls", wrong.tls, "does it want TLS (rediss://)?"),
    ("no-scripts", lambda: wrong.forbidding("-eval", "-evalsha"), "no permissions to run the 'eval' command"),
    ("other-keys", lambda: wrong.forbidding("resetkeys", "~mine:*"), "No permissions to access a key"),
    ("no-command", lambda: wrong.forbidding("-set", "-hset"), "the user may not use "),
    ("full", wrong.prepared(lambda redis: redis.config_set("maxmemory", 1)), "is at maxmemory"),
]
SCHEDULER_ONLY: list[tuple[str, wrong.Server, str]] = [
    ("evicting", wrong.with_config(**{"maxmemory-policy": "allkeys-lru"}), "maxmemory-policy is allkeys-lru"),
    ("evicting-ttl", wrong.with_config(**{"maxmemory-policy": "volatile-ttl"}), "maxmemory-policy is volatile-ttl"),
    ("no-channels", lambda: wrong.forbidding("resetchannels"), "may not use PUBLISH, SUBSCRIBE"),
    ("no-outbox", lambda: wrong.forbidding("-xadd"), "may not use XADD"),
    ("plain", wrong.plain_for_tls, "does it speak TLS?"),
]


def scheduler(url: str) -> Service:
    """A scheduler on that server, with ports of its own."""
    api, worker = free_ports(2)
    address, worker_address = f"127.0.0.1:{api}", f"127.0.0.1:{worker}"
    redis = RedisBackend(url, "wrong")
    return services.scheduler(
        "scheduler", address=address, worker_address=worker_address, redis=redis, kafka=None, redis_timeout_s=2
    )


def limiter(url: str, folder: Path) -> Service:
    """A limiter on that server."""
    rules = folder / "rules.yaml"
    rules.write_text(RULES)
    (port,) = free_ports(1)
    return services.limiter("limiter", address=f"127.0.0.1:{port}", redis=RedisBackend(url, "wrong"), rules=rules)


def started(service: Service, on_line: Callable[[str], None] | None = None) -> AbstractAsyncContextManager[Child]:
    """The service's process, ready or not."""
    return child(service.name, [sys.executable, "-m", service.module], env=service.env, on_line=on_line)


async def refused(service: Service, url: str, why: str) -> None:
    """The service ends with 1 after one line that names the server, without its password, and says why."""
    async with started(service) as process:
        async with asyncio.timeout(15):
            code = await process.wait()
    (line,) = process.tail
    said = json.loads(line)
    assert code == 1
    assert said["event"] == "service.failed"
    assert why in said["error"]
    assert said["error"].startswith(f"Redis at {url.rpartition('@')[2].removeprefix('redis://').partition('/')[0]}")
    assert "secret" not in line
    assert "left" not in line


@pytest.mark.parametrize(("server", "why"), [pytest.param(*rest, id=name) for name, *rest in BOTH])
async def test_neither_service_starts_on_it(server: wrong.Server, why: str, tmp_path: Path) -> None:
    async with server() as url:
        await asyncio.gather(refused(scheduler(url), url, why), refused(limiter(url, tmp_path), url, why))


@pytest.mark.parametrize(("server", "why"), [pytest.param(*rest, id=name) for name, *rest in SCHEDULER_ONLY])
async def test_no_scheduler_starts_on_it(server: wrong.Server, why: str) -> None:
    async with server() as url:
        await refused(scheduler(url), url.replace("rediss://", "redis://"), why)


@asynccontextmanager
async def _minimal() -> AsyncIterator[str]:
    async with wrong.forbidding("-@dangerous", "+info", "+cluster|info") as url:
        yield url


async def test_both_start_with_the_permissions_that_the_refusal_names(tmp_path: Path) -> None:
    async with _minimal() as url:
        for service in (scheduler(url), limiter(url, tmp_path)):
            async with started(service) as process:
                await wait_serving(process, service.health)


async def test_a_cluster_of_one_server_that_has_every_slot_will_do(tmp_path: Path) -> None:
    async with wrong.cluster(missing=0)() as url:
        for service in (scheduler(url), limiter(url, tmp_path)):
            async with started(service) as process:
                await wait_serving(process, service.health)


async def test_eviction_that_is_switched_on_later_takes_a_scheduler_out_of_service(tmp_path: Path) -> None:
    async with (
        valkey() as server,
        redis_client(server.url, timeout_s=5) as redis,
        running_suite(server, None, tmp_path) as suite,
    ):
        process = await suite.scheduler()

        await redis.config_set("maxmemory-policy", "allkeys-lfu")
        await out_of_service(suite.api)
        said = [json.loads(line) for line in suite.logs["scheduler-1"] if "store.unsuitable" in line]
        await redis.config_set("maxmemory-policy", "noeviction")
        await wait_until(lambda: is_ready(suite.api), 30, what="the scheduler to be back")

        assert process.running
    (line,) = said
    assert line["fault"] == "maxmemory-policy is allkeys-lfu, which would evict jobs; set it to noeviction"


async def test_a_server_that_becomes_a_replica_takes_both_services_out(tmp_path: Path) -> None:
    async with (
        valkey() as primary,
        valkey() as server,
        redis_client(server.url, timeout_s=5) as redis,
        running_suite(server, None, tmp_path) as suite,
    ):
        await suite.scheduler()
        await suite.limiter(rules=RULES)

        await redis.replicaof("127.0.0.1", int(primary.url.rpartition(":")[2].partition("/")[0]))

        await out_of_service(suite.api)
        await out_of_service(suite.limits)


async def out_of_service(target: str) -> None:
    """Wait until callers are no longer sent to the service, which still answers."""

    async def out() -> bool:
        return not await is_ready(target)

    await wait_until(out, 30, what=f"{target} to be out of service", period_s=0.1)
