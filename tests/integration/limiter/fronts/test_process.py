"""The limiter with Envoy as a program: how it starts, how it ends, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from headworks.limiter.v1.limiter_service_pb2 import ConsumeRequest
from headworks_core.store import redis_client
from headworks_devkit.otlp_sink import exporting_to, otlp_sink
from headworks_devkit.traces import Traces

from tests.integration.limiter.fronts.serving import RULES, front, in_script
from tests.integration.limiter.serving import PATIENT_MS, Limiter, request
from tests.support.health import is_ready
from tests.support.http import get
from tests.support.ports import free_port, free_ports
from tests.support.processes import Child, child
from tests.support.wait import wait_until

START_S = 40.0


@asynccontextmanager
async def program(folder: Path, **settings: object) -> AsyncIterator[Child]:
    """`python -m headworks_limiter --front envoy`, whether it comes up or not."""
    rules = folder / "rules.yaml"
    await asyncio.to_thread(rules.write_text, str(settings.pop("rules", RULES)))
    told = {"front": "envoy", "rules_file": rules, "redis_url": "memory:", "redis_timeout_ms": PATIENT_MS, **settings}
    env = {f"HEADWORKS_LIMITER_{name.upper()}": str(value) for name, value in told.items()}
    async with child("limiter", [sys.executable, "-m", "headworks_limiter"], env=env) as process:
        yield process


async def up(process: Child, address: str) -> None:
    async def ready() -> bool:
        if not process.running:
            raise process.failed("ended")
        try:
            return await is_ready(address)
        except grpc.aio.AioRpcError:
            return False

    await wait_until(ready, START_S, what="the limiter to be ready")


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    """Whether no such process runs; one that nobody has reaped counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


async def test_sigterm_lets_running_calls_end_and_then_all_is_gone(tmp_path: Path, valkey_url: str) -> None:
    port, metrics = free_ports(2)
    address = f"127.0.0.1:{port}"
    told = {"address": address, "redis_url": valkey_url, "metrics_address": f"127.0.0.1:{metrics}"}
    async with program(tmp_path, **told) as process, redis_client(valkey_url, timeout_s=30) as redis:
        await up(process, address)
        async with grpc.aio.insecure_channel(address) as channel:
            await redis.client_pause(60_000, all=False)
            try:
                stub = Limiter(channel).stub
                asked = ConsumeRequest(request=request(user="ann"))
                calls = [asyncio.ensure_future(stub.Consume(asked, timeout=60)) for _ in range(20)]
                await wait_until(lambda: in_script(redis), 20, what="the calls to wait for the store")
                os.kill(process.pid, signal.SIGTERM)
                await wait_until(lambda: stopping(metrics), 20, what="the limiter to be stopping")
            finally:
                await redis.client_unpause()
            replies = await asyncio.gather(*calls)
        assert all(reply.decision.allowed for reply in replies)
        assert await process.wait() == 0
    assert any('"service.stopped"' in line for line in process.tail)


async def stopping(metrics: int) -> bool:
    """Whether the service says that it is not ready any more, or has ended its page already."""
    try:
        return (await get(f"127.0.0.1:{metrics}", "/readyz"))[0] == 503
    except OSError:
        return True


@linux
async def test_a_limiter_that_is_killed_takes_envoy_with_it(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with program(tmp_path, address=address) as process:
        await up(process, address)
        (envoy,) = await asyncio.to_thread(children, process.pid)
        await process.kill()

        async def ended() -> bool:
            return await asyncio.to_thread(gone, envoy)

        await wait_until(ended, 20, what="Envoy to be gone")


@linux
async def test_a_limiter_whose_envoy_dies_ends_too(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with program(tmp_path, address=address) as process:
        await up(process, address)
        (envoy,) = await asyncio.to_thread(children, process.pid)
        os.kill(envoy, signal.SIGKILL)
        assert await process.wait() == 1
    assert any("Envoy ended by itself" in line for line in process.tail)


async def test_sighup_reads_the_rules_again(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with program(tmp_path, address=address) as process, grpc.aio.insecure_channel(address) as channel:
        await up(process, address)
        (tmp_path / "rules.yaml").write_text(RULES.replace("limit: 100", "limit: 50"))
        os.kill(process.pid, signal.SIGHUP)

        async def changed() -> bool:
            return (await Limiter(channel).check(request(user="x"))).governing.limit == 50

        await wait_until(changed, 20, what="the new rules")
        assert process.running


async def test_mistakes_in_the_rules_end_it_with_one_line(tmp_path: Path) -> None:
    async with program(tmp_path, rules="namespaces: []", address="127.0.0.1:0") as process:
        assert await process.wait() == 1
    assert any("service.failed" in line and "namespaces: must be a mapping" in line for line in process.tail)


async def test_an_address_that_is_taken_ends_it(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with program(tmp_path, address=address) as first:
        await up(first, address)
        async with program(tmp_path, address=address) as second:
            assert await second.wait() == 1
        assert any(f"cannot listen on {address}" in line for line in second.tail)
        assert await is_ready(address)


async def test_without_its_package_the_front_says_which_extra_has_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyvoy'] = None; from headworks_limiter.__main__ import main; main()"
    env = {"HEADWORKS_LIMITER_REDIS_URL": "memory:", "HEADWORKS_LIMITER_METRICS_ADDRESS": ""}
    argv = [sys.executable, "-c", code, "--front", "envoy", "--address", "127.0.0.1:0"]
    async with child("limiter", argv, env=env) as process:
        assert await process.wait() == 1
    assert any("pip install 'headworks[envoy]'" in line for line in process.tail)
    assert not any("Traceback" in line for line in process.tail)


async def test_sampled_calls_have_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = Traces()
    async with otlp_sink(traces) as endpoint:
        for name, value in exporting_to(endpoint).items():
            monkeypatch.setenv(name, value)
        trace = "0af7651916cd43dd8448eb211c80319c"
        async with front("envoy", "memory:", tmp_path) as served:
            assert (await served.limiter.traced(f"00-{trace}-b7ad6b7169203331-01").consume(request(user="x"))).allowed
        names = {span.name for span in traces.spans(trace)}
    assert "headworks.limiter.v1.LimiterService/Consume" in names
