"""`headworks up`: everything starts, everything stops, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from headworks_devkit.backends.kafka_embedded import embedded_kafka
from headworks_devkit.backends.valkey import valkey

from tests.integration.devkit.command import Running, headworks, running
from tests.support.http import get
from tests.support.wait import wait_until

UP = ("up", "--any-ports")


async def test_the_suite_answers_at_the_printed_addresses() -> None:
    async with running(*UP) as up:
        await up.printed("headworks is up")
        await up.printed("events tail")
        (line,) = [line for line in up.lines if "jobs submit hello" in line]
        done = await headworks(*line.split()[1:])
        assert (done.code, "hello, you" in done.out) == (0, True), done


@pytest.mark.parametrize("moment", ["Redis and Kafka", "limiter and scheduler", "2 workers"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
async def test_a_signal_during_the_start_stops_everything(moment: str, number: signal.Signals) -> None:
    async with running(*UP) as up:
        await up.printed(f"... {moment}")
        os.kill(up.process.pid, number)
        assert await up.process.wait() == 128 + number
        assert up.alive() == {}


async def test_ctrl_c_stops_workers_then_services_then_backends() -> None:
    async with running(*UP) as up:
        await up.printed("headworks is up")
        assert len(up.alive()) == 6  # itself, Valkey, limiter, scheduler, two workers
        os.kill(up.process.pid, signal.SIGINT)
        assert await up.process.wait() == 0
        assert up.alive() == {}
        stopped = [line.split()[0] for line in up.lines if "service.stopped" in line]
        assert sorted(stopped[:2]) == ["worker-1", "worker-2"]
        assert sorted(stopped[2:]) == ["limiter", "scheduler"]


async def test_named_servers_are_used_instead_of_embedded_ones() -> None:
    async with valkey() as redis, embedded_kafka() as kafka:
        named = {"HEADWORKS_REDIS_URL": redis.url, "HEADWORKS_KAFKA_BOOTSTRAP": kafka.bootstrap}
        async with running(*UP, "--workers", "1", **named) as up:
            await up.printed("events tail")
            assert redis.url in up.text
            assert f"--kafka {kafka.bootstrap} events tail" in up.text
            assert len(up.alive()) == 4  # itself, limiter, scheduler, a worker


async def test_nothing_outlives_a_killed_up() -> None:
    async with running(*UP) as up:
        await up.printed("headworks is up")
        os.kill(up.process.pid, signal.SIGKILL)
        await up.process.wait()
        await wait_until(lambda: up.alive() == {}, what="the kernel to end the children")


@pytest.mark.parametrize("name", ["limiter", "scheduler", "worker-1"])
async def test_what_dies_is_started_again(name: str) -> None:
    async with running(*UP, "--workers", "1") as up:
        await up.printed("events tail")
        (line,) = [line for line in up.lines if "jobs submit hello" in line]
        os.kill(pid_of(up, f"headworks_{name.partition('-')[0]}"), signal.SIGKILL)
        await up.printed(f"{name} has ended by itself (exit code -9); the rest goes on, and it starts again in 0.25 s")
        await up.printed(f"{name} is back")
        assert len(up.alive()) == 5  # itself, Valkey, limiter, scheduler, a worker
        done = await headworks(*line.split()[1:])
        assert (done.code, "hello, you" in done.out) == (0, True), done


async def test_what_dies_again_and_again_ends_everything(tmp_path: Path) -> None:
    (tmp_path / "crasher.py").write_text(CRASHER)
    armed = tmp_path / "armed"
    env = {"PYTHONPATH": str(tmp_path), "CRASHER_ARMED": str(armed)}
    async with running(*UP, "--workers", "1", "--tasks", "crasher", **env) as up:
        await up.printed("headworks is up")
        armed.touch()
        os.kill(pid_of(up, "headworks_worker"), signal.SIGKILL)
        assert await up.process.wait() == 4
        assert "given up after 5 deaths within 60 s: worker-1 ended with 7 before it was ready" in up.text
        assert "no luck today" in up.text
        assert up.alive() == {}


CRASHER = """
import os, pathlib
from headworks_client import task

if pathlib.Path(os.environ["CRASHER_ARMED"]).exists():
    print("no luck today", flush=True)
    os._exit(7)

@task
async def nothing() -> None:
    pass
"""


async def test_every_process_has_a_page_of_metrics() -> None:
    async with running(*UP, "--workers", "1") as up:
        await up.printed("events tail")
        pages = dict(re.findall(r"metrics of (\S+) +http://(\S+)/metrics", up.text))
        assert pages.keys() == {"limiter", "scheduler", "worker-1"}
        for address in pages.values():
            status, text = await get(address, "/metrics")
            assert (status, "# TYPE headworks_" in text) == (200, True)


async def test_a_taken_port_is_named() -> None:
    async with running("up", "--workers", "0") as first:
        await first.printed("headworks is up")
        second = await headworks("up")
    assert second.code == 4
    assert re.search(r"127\.0\.0\.1:5005\d is taken by another process", second.err)


def pid_of(up: Running, module: str) -> int:
    """The process that runs this module."""
    (pid,) = [pid for pid, line in up.alive().items() if line.endswith(f"-m {module} ")]
    return pid
