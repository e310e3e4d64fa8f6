"""What a test run does where Apache Kafka cannot be had."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.suite import ROOT

TESTS = "tests/integration/devkit/test_backends.py"


async def run_without_maven(folder: Path, **env: str) -> tuple[int, str]:
    """Exit code and output of pytest on a machine without Maven and with an empty cache."""
    settings = {**os.environ, "PATH": str(folder), "XDG_CACHE_HOME": str(folder), "HEADWORKS_REQUIRE_KAFKA": "", **env}
    command = [sys.executable, "-m", "pytest", "-k", "chosen or apache", TESTS]
    process = await asyncio.create_subprocess_exec(
        *command, env=settings, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


@pytest.fixture(autouse=True)
def _no_named_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWORKS_TEST_KAFKA_BOOTSTRAP", raising=False)


async def test_the_embedded_broker_stands_in_and_the_header_says_why(tmp_path: Path) -> None:
    code, said = await run_without_maven(tmp_path)
    assert code == 0, said
    assert "kafka: the embedded broker, because" in said
    assert "no Maven (mvn) on PATH" in said
    assert "1 passed, 1 skipped" in said


async def test_where_kafka_is_required_the_run_is_refused(tmp_path: Path) -> None:
    code, said = await run_without_maven(tmp_path, HEADWORKS_REQUIRE_KAFKA="1")
    assert code == 4, said
    assert "HEADWORKS_REQUIRE_KAFKA=1, but" in said
