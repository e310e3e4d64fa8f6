"""What a limiter tells Prometheus, and that none of it grows with what callers say."""

from __future__ import annotations

import pytest
from headworks_core import errors
from headworks_core.errors import Reason
from headworks_devkit.ports import free_port
from redis.asyncio import Redis

from tests.integration.limiter.serving import request, running
from tests.support.http import get, scrape, value

RULES = """
namespaces:
  api:
    rules:
      - {name: per-user, match: {user: "*"}, limit: 3, per: 1d}
      - {name: per-ip, match: {ip: "*"}, limit: 2, per: 1d}
      - {name: spare, match: {spare: "*"}, limit: 1, per: 1d, on_store_failure: allow}
"""


async def test_decisions_are_counted_by_namespace_and_refusals_by_rule(redis: Redis, valkey_url: str) -> None:
    monitor = f"127.0.0.1:{free_port()}"
    async with running(valkey_url, RULES, metrics_address=monitor) as limiter:
        for _ in range(4):
            await limiter.consume(request(user="ann", ip="10.0.0.1"))
        await limiter.check(request(user="bob"))
        await limiter.consume(request(other="x"))
        results = await limiter.batch(request(user="cid"), request(user="cid", _permits=99))
        seen = await scrape(monitor)

    assert errors.Reason(results[1].error.reason) is Reason.PERMITS_EXCEED_LIMIT
    decisions = "headworks_limiter_decisions_total"
    assert value(seen, decisions, namespace="api", outcome="allowed") == 4  # two, a look, one of the batch
    assert value(seen, decisions, namespace="api", outcome="refused") == 2
    assert value(seen, "headworks_limiter_refusals_total", namespace="api", rule="per-ip") == 2
    assert value(seen, "headworks_limiter_refusals_total", namespace="api", rule="per-user") == 0
    assert value(seen, "headworks_limiter_unlimited_total") == 1
    assert value(seen, "headworks_errors_total", reason="PERMITS_EXCEED_LIMIT") >= 1
    assert value(seen, "headworks_limiter_batch_size_count") >= 5
    assert value(seen, "headworks_script_duration_seconds_count", script="decide") >= 5
    assert value(seen, "headworks_limiter_calls_open") == 0


async def test_rules_are_counted_by_what_they_said_and_when_little_is_left(redis: Redis, valkey_url: str) -> None:
    monitor = f"127.0.0.1:{free_port()}"
    rules = RULES.replace("limit: 3,", "limit: 10,").replace("limit: 2,", "limit: 9,")
    async with running(valkey_url, rules, metrics_address=monitor) as limiter:
        for _ in range(10):
            await limiter.consume(request(user="ann", ip="10.0.0.1"))
        seen = await scrape(monitor)

    said = "headworks_limiter_rule_decisions_total"
    assert value(seen, said, namespace="api", rule="per-user", outcome="allowed") == 10
    assert value(seen, said, namespace="api", rule="per-ip", outcome="allowed") == 9
    assert value(seen, said, namespace="api", rule="per-ip", outcome="refused") == 1
    near = "headworks_limiter_near_limit_total"
    assert value(seen, near, rule="per-user") == 3  # 2 left, 1 left, and 1 still when the other rule refused
    assert value(seen, near, rule="per-ip") == 2  # 1 left, 0 left
    assert value(seen, "headworks_limiter_store_keys") == 3  # two buckets, and hw:meta


async def test_answers_without_the_store_are_counted(redis: Redis, valkey_url: str) -> None:
    monitor = f"127.0.0.1:{free_port()}"
    async with running(valkey_url, RULES, metrics_address=monitor, redis_timeout_ms=50) as limiter:
        await redis.execute_command("CLIENT", "PAUSE", "1500", "ALL")  # type: ignore[no-untyped-call]
        assert (await limiter.consume(request(spare="x"))).degraded
        with pytest.raises(Exception, match="cannot be asked"):
            await limiter.consume(request(user="ann"))
        seen = await scrape(monitor)

    assert value(seen, "headworks_limiter_degraded_total", namespace="api", outcome="allowed") == 1
    assert value(seen, "headworks_limiter_degraded_total", namespace="api", outcome="error") == 1
    assert value(seen, "headworks_limiter_store_failures_total") >= 1


async def test_no_label_grows_with_descriptors_or_tenants(redis: Redis, valkey_url: str) -> None:
    monitor = f"127.0.0.1:{free_port()}"
    async with running(valkey_url, RULES, metrics_address=monitor) as limiter:
        for number in range(2_000 // 400):
            await limiter.batch(*(request(user=f"hunter2-{number}-{n}") for n in range(400)))
        await limiter.of("tenant-hunter2").consume(request(ip="hunter2"))
        _, text = await get(monitor, "/metrics")
        seen = await scrape(monitor)

    assert "hunter2" not in text
    assert len(seen["headworks_limiter_decisions_total"]) == 1
    assert value(seen, "headworks_limiter_decisions_total") == 2_001
