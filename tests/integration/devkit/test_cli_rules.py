"""`headworks limits list|get|set|delete|reload|top` against a running limiter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from headworks_client import LimiterClient

from tests.integration.devkit.command import HEADWORKS, Done, headworks
from tests.integration.limiter.serving import running
from tests.support.ports import free_port

RULES = """
namespaces:
  api:
    rules:
      - {name: user, match: {user: "*"}, limit: 10/day}
    costs:
      - {match: {route: POST /big}, permits: 4}
"""


@pytest.fixture
async def address() -> AsyncIterator[str]:
    chosen = f"127.0.0.1:{free_port()}"
    async with running("memory:", RULES, address=chosen):
        yield chosen


async def limits(address: str, *words: str) -> Done:
    return await headworks("--limiter", address, "limits", *words)


async def test_rules_are_read_changed_put_back_and_deleted(address: str, tmp_path: Path) -> None:
    file = tmp_path / "api.yaml"
    file.write_text((await limits(address, "get", "api")).out.replace("10/day", "20/day"))
    done = await limits(address, "set", "api", str(file), "--expect", "0", "--comment", "more")
    assert (done.code, done.out) == (0, "api is version 1\n")
    file.write_text(file.read_text().replace("20/day", "30/day"))
    assert (await limits(address, "set", "api", str(file), "--json")).records == [{"namespace": "api", "version": 2}]
    assert (await limits(address, "set", "api", "--restore", "1")).out == "api is version 3\n"
    assert "limit: 20/day" in (await limits(address, "get", "api")).out
    assert "limit: 30/day" in (await limits(address, "get", "api", "--version", "2")).out
    history = (await limits(address, "get", "api", "--history")).out.splitlines()
    assert [line.split()[0] for line in history] == ["version", "3", "2", "1"]
    (record,) = (await limits(address, "list", "--json")).records
    assert (record["source"], record["version"]["version"], record["file_overridden"]) == ("API", 3, True)
    assert "api (the file's are not in use)" in (await limits(address, "list")).out
    assert (await limits(address, "delete", "api", "--comment", "done")).out == "api is version 4\n"
    (record,) = (await limits(address, "list", "--json")).records
    assert (record["source"], record["version"]["deleted"]) == ("FILE", True)
    assert (await limits(address, "reload", "--json")).records == [{"valid": True, "mistakes": []}]


async def test_what_cannot_be_put_is_said(address: str, tmp_path: Path) -> None:
    file = tmp_path / "api.yaml"
    file.write_text("rules:\n  - {name: a, match: {}, limt: 1/day}\n")
    done = await limits(address, "set", "api", str(file))
    assert done.code == 1
    assert done.out.startswith(f"{file}:2: a rule: unknown key 'limt'")
    assert "2 mistakes; nothing has changed" in done.err
    file.write_text("rules: []")
    done = await limits(address, "set", "api", str(file), "--expect", "7")
    assert (done.code, "[RULES_CHANGED]" in done.err) == (1, True)
    assert (await limits(address, "set", "api")).code == 2
    assert (await limits(address, "get", "nowhere")).code == 3
    assert (await limits(f"127.0.0.1:{free_port()}", "list")).code == 4


async def test_costs_are_shown(address: str) -> None:
    done = await limits(address, "inspect", "api", "user=ann", "route=POST /big")
    assert "costs 4 permits" in done.out
    (record,) = (await limits(address, "inspect", "api", "user=ann", "route=POST /big", "--json")).records
    assert (record["permits"], record["bypass"]) == (4, None)
    assert "costs" not in (await limits(address, "inspect", "api", "user=ann")).out


async def test_top_shows_the_busiest_rules_and_no_values(address: str) -> None:
    stop = asyncio.Event()

    async def ask() -> None:
        async with LimiterClient(address) as client:
            while not stop.is_set():
                await client.consume("api", {"user": "hunter2"})

    asking = asyncio.create_task(ask())
    try:
        done = await limits(address, "top", "--once", "--json", "--interval", "300ms")
        shown = await limits(address, "top", "--once", "--interval", "300ms", "--by", "refused")
    finally:
        stop.set()
        await asking
    (record,) = done.records
    assert (record["namespace"], record["rule"]) == ("api", "user")
    assert record["requests_per_s"] > 0
    assert 0 < record["refused_per_s"] <= record["requests_per_s"]
    assert shown.out.splitlines()[0].strip() == "1 limiter"
    assert [line.split()[:2] for line in shown.out.splitlines()[2:]] == [["api", "user"]]
    assert "hunter2" not in done.out + shown.out


async def test_top_goes_on_until_it_is_ended(address: str) -> None:
    process = await asyncio.create_subprocess_exec(
        HEADWORKS,
        "--limiter",
        address,
        "limits",
        "top",
        "--json",
        "--interval",
        "100ms",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with LimiterClient(address) as client, asyncio.timeout(30):
            records: list[Any] = []
            reading = asyncio.ensure_future(process.stdout.readline())
            while len(records) < 3:
                await client.consume("api", {"user": "ann"})
                if reading.done():
                    records.append(json.loads(reading.result()))
                    reading = asyncio.ensure_future(process.stdout.readline())
            reading.cancel()
    finally:
        process.terminate()
        await process.wait()
    assert {record["rule"] for record in records} == {"user"}
    assert process.returncode == 128 + 15
