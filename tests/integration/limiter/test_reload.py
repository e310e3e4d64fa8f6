"""Changed rules are in use soon, bad ones never."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from headworks.limiter.v1.limiter_pb2 import Decision
from headworks_limiter import rulebook
from headworks_limiter.app import limiter_app
from headworks_limiter.rules import RulesError
from headworks_limiter.settings import Settings
from redis.asyncio import Redis

from tests.integration.limiter.serving import PATIENT_MS, Limiter, request
from tests.support.http import get
from tests.support.ports import free_port
from tests.support.wait import wait_until


def rules(limit: int, more: str = "") -> str:
    rule = f"{{name: r, match: {{user: '*'}}, limit: {limit}/day{more}}}"
    return f"namespaces: {{api: {{rules: [{rule}]}}}}\n"


@asynccontextmanager
async def limiter(valkey_url: str, file: Path, *, metrics: str = "") -> AsyncIterator[Limiter]:
    told = Settings(
        address="127.0.0.1:0",
        redis_url=valkey_url,
        rules_file=str(file),
        redis_timeout_ms=PATIENT_MS,
        shutdown_grace_s=1,
        metrics_address=metrics,
    )
    async with limiter_app(told) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Limiter(channel)


def allows(client: Limiter, limit: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return (await client.check(request(user="ann"))).governing.limit == limit

    return look


def says(client: Limiter, status: int) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        stub: Any = health_pb2_grpc.HealthStub(client.channel)
        found: int = (await stub.Check(health_pb2.HealthCheckRequest(service="rules"))).status
        return found == status

    return ask


async def test_a_changed_file_is_used_and_what_was_taken_stays_taken(
    redis: Redis, valkey_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(rules(10))
    async with limiter(valkey_url, file) as client:
        assert (await client.consume(request(user="ann", _permits=4))).governing.remaining == 6
        file.write_text(rules(20))
        await wait_until(allows(client, 20), 10, what="the new rules")
        found: Decision = await client.consume(request(user="ann"))
        assert found.governing.remaining == 15
        batch = await client.batch(request(user="ann"))
        assert batch[0].decision.governing.limit == 20


async def test_a_file_that_is_replaced_through_a_link_is_used(redis: Redis, valkey_url: str, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "rules.yaml").write_text(rules(number * 10))
    (tmp_path / "data").symlink_to("v1")
    async with limiter(valkey_url, tmp_path / "data" / "rules.yaml") as client:
        assert await allows(client, 10)()
        (tmp_path / "next").symlink_to("v2")
        os.replace(tmp_path / "next", tmp_path / "data")  # as Kubernetes changes a mounted ConfigMap
        await wait_until(allows(client, 20), 10, what="the new rules")


async def test_a_file_with_mistakes_changes_nothing_and_shows(redis: Redis, valkey_url: str, tmp_path: Path) -> None:
    file, port = tmp_path / "rules.yaml", free_port()
    file.write_text(rules(10))
    serving, bad = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    async with limiter(valkey_url, file, metrics=f"127.0.0.1:{port}") as client:
        assert await says(client, serving)()
        file.write_text(rules(20, more=", brust: 3"))
        await wait_until(says(client, bad), 10, what="the health to tell")
        assert await allows(client, 10)()
        _, page = await get(f"127.0.0.1:{port}", "/metrics")
        assert "headworks_limiter_rules_current 0" in page
        assert 'headworks_limiter_rules_reloads_total{outcome="failed"} 1' in page
        file.unlink()
        file.write_text(rules(30))
        await wait_until(allows(client, 30), 10, what="the new rules")
        await wait_until(says(client, serving), 10, what="the health to tell")
        assert "headworks_limiter_rules_current 1" in (await get(f"127.0.0.1:{port}", "/metrics"))[1]


async def test_sighup_reads_the_file_at_once(
    redis: Redis, valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rulebook, "LOOK_S", 3600.0)
    file = tmp_path / "rules.yaml"
    file.write_text(rules(10))
    async with limiter(valkey_url, file) as client:
        assert await allows(client, 10)()
        file.write_text(rules(20))
        os.kill(os.getpid(), signal.SIGHUP)
        await wait_until(allows(client, 20), 10, what="the new rules")


async def test_a_bad_file_at_start_is_an_error(redis: Redis, valkey_url: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("namespaces: []")
    with pytest.raises(RulesError, match="namespaces: must be a mapping"):
        async with limiter(valkey_url, file):
            pass
