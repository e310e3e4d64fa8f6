"""Metrics and probes of real processes, and the page that explains them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from headworks_client import Job, SchedulerClient
from headworks_devkit.ports import free_port
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.tasks import add
from tests.support.http import get, scrape, value
from tests.support.suite import Suite
from tests.support.wait import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
RULES = 'namespaces: {api: {rules: [{name: r, match: {user: "*"}, limit: 2, per: 1d}]}}'
RARE = {  # what needs something to go wrong, or a queue's time to pass
    "headworks_errors_total",
    "headworks_store_errors_total",
    "headworks_limiter_decisions_total",
    "headworks_limiter_rule_decisions_total",
    "headworks_limiter_near_limit_total",
    "headworks_limiter_let_through_total",
    "headworks_limiter_shadow_refusals_total",
    "headworks_limiter_refusals_total",
    "headworks_limiter_degraded_total",
    "headworks_limiter_envoy_requests_total",  # and so on: only with envoy_rules, see integration/limiter/test_envoy.py
    "headworks_limiter_envoy_exceeded_total",
    "headworks_limiter_envoy_batch_size",
    "headworks_limiter_envoy_store_failures_total",
    "headworks_limiter_envoy_rules_reloads_total",
    "headworks_limiter_envoy_rules_current",
    "headworks_scheduler_repairs_total",
    "headworks_scheduler_sessions_ended_total",
}


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels by metric, as the page has them."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == len({name for name, _, _ in rows})
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


async def exposed(address: str) -> dict[str, tuple[str, frozenset[str]]]:
    """The same, as a process has them."""
    _, text = await get(address, "/metrics")
    found = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, frozenset(labels))
    return found


@pytest.mark.kafka
async def test_the_page_has_every_metric_of_real_processes_and_no_other(suite: Suite) -> None:
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("limiter", "scheduler", "worker")}
    await suite.limiter(rules=RULES, metrics_address=addresses["limiter"])
    await suite.scheduler(metrics_address=addresses["scheduler"])
    await suite.worker(tasks="tests.e2e.tasks", metrics_address=addresses["worker"])
    async with SchedulerClient(suite.api) as client:
        jobs = await client.submit_many([add.submission(a=number, b=1) for number in range(3)])
        assert [await job.result(timeout_s=20) for job in jobs if isinstance(job, Job)] == [1, 2, 3]
    page = documented()

    seen: dict[str, tuple[str, frozenset[str]]] = {}
    for address in addresses.values():
        seen |= await exposed(address)
    del seen["target_info"]
    assert seen.items() <= page.items()
    assert page.keys() - seen.keys() - {"target_info"} <= RARE
    worker = await scrape(addresses["worker"])
    assert value(worker, "headworks_worker_attempts_total", task="e2e.add", outcome="succeeded") == 3
    assert value(worker, "headworks_worker_attempt_duration_seconds_count", task="e2e.add") == 3
    assert value(worker, "headworks_worker_attached") == 1


async def answer(address: str, path: str) -> tuple[int, str]:
    """Status and body; status 0 when there is no answer within a second."""
    try:
        return await get(address, path, timeout_s=1)
    except (TimeoutError, OSError):
        return 0, ""


async def until(address: str, path: str, status: int, text: str = "", timeout_s: float = 30) -> None:
    """Wait for an answer with this status that has this text in it."""

    async def answered() -> bool:
        found, body = await answer(address, path)
        return found == status and text in body

    await wait_until(answered, timeout_s, what=f"{status} {text!r} from {path}")


async def test_a_service_that_stands_still_fails_its_own_liveness_and_nobody_elses(suite: Suite) -> None:
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("scheduler", "worker")}
    scheduler = await suite.scheduler(metrics_address=addresses["scheduler"])
    await suite.worker(tasks="tests.e2e.tasks", metrics_address=addresses["worker"])
    await until(addresses["worker"], "/readyz", 200)
    scheduler.pause()
    try:
        assert await answer(addresses["scheduler"], "/livez") == (0, "")
        assert await answer(addresses["worker"], "/livez") == (200, "ok\n")
        await until(addresses["worker"], "/readyz", 503, "session: ")  # nothing heard for three pings
        assert await answer(addresses["worker"], "/livez") == (200, "ok\n")
    finally:
        scheduler.resume()
    await until(addresses["scheduler"], "/livez", 200)
    await until(addresses["worker"], "/readyz", 200)


def test_the_page_names_labels_that_are_bounded() -> None:
    allowed: Mapping[str, str] = {
        "method": "", "status": "", "reason": "", "script": "", "kind": "", "namespace": "", "rule": "", "outcome": "",
        "bypass": "",
        "domain": "", "mode": "",
        "queue": "", "state": "", "how": "", "task": "", "service_name": "", "service_instance_id": "",
    }  # fmt: skip
    assert {label for _, labels in documented().values() for label in labels} <= allowed.keys()
