"""How fast the limiter answers, held against an empty grpc.aio echo server of the same messages.

`python -m tests.bench.limiter [redis-url]` prints the table. Server and load are processes of their own; the runs of
echo and limiter alternate, and the best of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import uvloop
from headworks.limiter.v1 import limiter_pb2, limiter_service_pb2, limiter_service_pb2_grpc
from headworks_core import logs
from headworks_core.serving import until_signalled
from headworks_devkit.backends.valkey import valkey
from headworks_limiter.app import limiter_app
from headworks_limiter.settings import Settings

CALLERS = 64
USERS = 1000
ROUNDS = 6
RUN_S = 2.0
WARM_S = 0.7
BATCH = 100
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
RULES = """
namespaces:
  bench:
    rules:
      - {name: per-user, match: {user: "*"}, limit: 1_000_000, per: 1s}
"""


class Echo(limiter_service_pb2_grpc.LimiterServiceServicer):
    """Answers every call with the same decision."""

    def __init__(self) -> None:
        status = limiter_pb2.RuleStatus(rule="per-user", limit=1_000_000, remaining=999_999, allowed=True)
        status.reset_after.FromMicroseconds(1)
        decision = limiter_pb2.Decision(allowed=True, permits=1, governing=status)
        self._reply = limiter_service_pb2.ConsumeResponse(decision=decision)

    async def Consume(self, request: Any, context: Any) -> limiter_service_pb2.ConsumeResponse:
        """The same reply for all."""
        return self._reply

    async def Check(self, request: Any, context: Any) -> Any:
        """Not measured."""
        raise NotImplementedError

    async def ConsumeBatch(self, request: Any, context: Any) -> Any:
        """Not measured."""
        raise NotImplementedError

    async def ConsumeStream(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        """Not measured."""
        raise NotImplementedError


@asynccontextmanager
async def echo_app() -> AsyncIterator[int]:
    """A grpc.aio server without interceptors; yields its port."""
    server = grpc.aio.server()
    limiter_service_pb2_grpc.add_LimiterServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(1)


async def serve(kind: str, redis_url: str, rules_file: str) -> None:
    """Serve until a signal; the first line of the output is the port."""
    logs.configure("bench", level="warning")
    app = (
        echo_app()
        if kind == "echo"
        else limiter_app(
            Settings(
                address="127.0.0.1:0",
                redis_url=redis_url,
                rules_file=rules_file,
                redis_timeout_ms=1000,
                shutdown_grace_s=1.0,
            )
        )
    )

    @asynccontextmanager
    async def announced() -> AsyncIterator[None]:
        async with app as port:
            print(port, flush=True)
            yield

    await until_signalled(announced())


def _requests() -> list[limiter_pb2.PermitRequest]:
    return [
        limiter_pb2.PermitRequest(namespace="bench", descriptors={"user": f"user-{number}", "endpoint": "GET /x"})
        for number in range(USERS)
    ]


async def load(target: str, kind: str, seconds: float) -> None:
    """CALLERS callers that each wait for an answer before they ask again; prints what they measured."""
    requests = _requests()
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = limiter_service_pb2_grpc.LimiterServiceStub(channel)
        started = time.perf_counter()
        counted_from, until = started + WARM_S, started + WARM_S + seconds

        turns = [0] * CALLERS

        async def caller(number: int) -> None:
            while (sent := time.perf_counter()) < until:
                turns[number] += 1
                turn = turns[number] + number * 17
                if kind == "batch":
                    items = [requests[(turn * BATCH + index) % USERS] for index in range(BATCH)]
                    await stub.ConsumeBatch(limiter_service_pb2.ConsumeBatchRequest(requests=items))
                else:
                    await stub.Consume(limiter_service_pb2.ConsumeRequest(request=requests[turn % USERS]))
                if sent >= counted_from:
                    latencies.append(time.perf_counter() - sent)

        callers = {"unary": CALLERS, "lone": 1, "batch": 8}[kind]
        await asyncio.gather(*(caller(number) for number in range(callers)))
    latencies.sort()
    figures = {
        "calls": sum(turns),
        "per_s": len(latencies) / seconds,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
    }
    print(json.dumps(figures))


class Target(NamedTuple):
    """A server process."""

    address: str
    pid: int

    def cpu_s(self) -> float:
        """The processor time it has used; 0 where there is no /proc."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def _server(loop: str, kind: str, redis_url: str, rules_file: str) -> AsyncIterator[Target]:
    process = await asyncio.create_subprocess_exec(
        *_command(loop, "serve", kind, redis_url, rules_file), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        yield Target(f"127.0.0.1:{int(line)}", process.pid)
    finally:
        process.terminate()
        await process.wait()


async def _measure(target: Target, kind: str) -> dict[str, float]:
    before_s = target.cpu_s()
    process = await asyncio.create_subprocess_exec(
        *_command("uvloop", "load", target.address, kind, str(RUN_S)), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    figures: dict[str, float] = json.loads(out)
    figures["cpu_us"] = (target.cpu_s() - before_s) / figures["calls"] * 1e6
    return figures


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.bench.limiter", *arguments]


def _best(runs: list[dict[str, float]]) -> dict[str, float]:
    return max(runs, key=lambda figures: figures["per_s"])


async def run(valkey_url: str) -> dict[str, object]:
    """Measure against this server. `limiter_unary_vs_echo` compares under the same loop (uvloop)."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        rules_file = Path(folder) / "rules.yaml"
        await asyncio.to_thread(rules_file.write_text, RULES)
        targets = {
            name: await stack.enter_async_context(_server(loop, kind, valkey_url, str(rules_file)))
            for name, loop, kind in (
                ("echo", "uvloop", "echo"),
                ("echo_asyncio", "asyncio", "echo"),
                ("limiter", "uvloop", "limiter"),
            )
        }
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
        for _ in range(ROUNDS):
            for name, target in targets.items():
                runs[name].append(await _measure(target, "unary"))
        lone = await _measure(targets["limiter"], "lone")
        batch = await _measure(targets["limiter"], "batch")
    best = {name: _best(measured) for name, measured in runs.items()}
    return {
        "limiter_unary_vs_echo": round(best["limiter"]["per_s"] / best["echo"]["per_s"], 3),
        "limiter_unary_vs_echo_asyncio": round(best["limiter"]["per_s"] / best["echo_asyncio"]["per_s"], 3),
        "limiter_unary_per_s": round(best["limiter"]["per_s"]),
        "limiter_unary_p50_ms": round(best["limiter"]["p50_ms"], 3),
        "limiter_unary_p99_ms": round(best["limiter"]["p99_ms"], 3),
        "limiter_lone_p50_ms": round(lone["p50_ms"], 3),
        "limiter_lone_p99_ms": round(lone["p99_ms"], 3),
        "limiter_batch_decisions_per_s": round(batch["per_s"] * BATCH),
        "limiter_server_cpu_us_per_call": round(min(figures["cpu_us"] for figures in runs["limiter"])),
        "echo_server_cpu_us_per_call": round(min(figures["cpu_us"] for figures in runs["echo"])),
        "echo_unary_per_s": round(best["echo"]["per_s"]),
        "echo_asyncio_unary_per_s": round(best["echo_asyncio"]["per_s"]),
        "limiter_runs_per_s": [round(figures["per_s"]) for figures in runs["limiter"]],
        "echo_runs_per_s": [round(figures["per_s"]) for figures in runs["echo"]],
    }


async def _table(redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        url = redis_url or (await stack.enter_async_context(valkey())).url
        for name, value in (await run(url)).items():
            print(f"{name:32} {value}")


def _main(argv: list[str]) -> Coroutine[Any, Any, None]:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    words = parser.parse_args(argv).words
    if len(words) == 5 and words[1] == "serve":
        return serve(words[2], words[3], words[4])
    if len(words) == 5 and words[1] == "load":
        return load(words[2], words[3], float(words[4]))
    return _table(words[0] if words else "")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    factory = LOOPS[arguments[0]] if arguments and arguments[0] in LOOPS else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_main(arguments))
