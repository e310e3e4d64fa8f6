"""Two ways of doing the same, in turn: many sessions over one, sampled tracing over none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from headworks_devkit.otlp_sink import exporting_to, otlp_sink
from headworks_devkit.traces import Traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.bench import line, programs
from tests.bench.drain import Workers, drain
from tests.bench.figures import Sheet
from tests.bench.line import SLOTS, Line
from tests.bench.scale import Scale
from tests.bench.submit import submit

ROUNDS = 3
SESSIONS, PROCESSES = 20, 2
SHARE = 0.01


def sessions(count: int, processes: int) -> Workers:
    """Workers for a drain: `count` sessions in `processes` processes, SLOTS slots in all."""

    @asynccontextmanager
    async def started(of: Line) -> AsyncIterator[Sequence[int]]:
        async with AsyncExitStack() as stack:
            pids = []
            for _ in range(processes):
                argv = (of.worker_port, count // processes, SLOTS // count)
                _, process = await stack.enter_async_context(programs.serving("tests.bench.many_workers", *argv))
                pids.append(process.pid)
            yield pids

    return started


async def many_sessions(scale: Scale, sheet: Sheet) -> None:
    """sessions_ratio_20."""
    ways = {"1": sessions(1, 1), str(SESSIONS): sessions(SESSIONS, PROCESSES)}
    runs: dict[str, list[float]] = {name: [] for name in ways}
    async with line.line(None) as of:
        for _ in range(min(ROUNDS, scale.rounds)):
            for name, workers in ways.items():
                await of.redis.flushdb()
                await submit(of.scheduler, scale.drain_jobs)
                runs[name].append((await drain(of, workers)).per_s)
    sheet.put(
        "sessions_ratio_20",
        max(runs[str(SESSIONS)]) / max(runs["1"]),
        drain_per_s={f"{name} sessions": [round(run) for run in each] for name, each in runs.items()},
        slots_in_all=SLOTS,
        worker_processes=PROCESSES,
        jobs=scale.drain_jobs,
        taken="best run of each, runs alternate, counted once all sessions are attached",
    )


class _Counted(Traces):
    """Counts the spans instead of keeping them."""

    def __init__(self) -> None:
        super().__init__(max_traces=1)
        self.received = 0

    def add(self, request: ExportTraceServiceRequest) -> None:
        """Count the spans of one export."""
        self.received += sum(len(scope.spans) for part in request.resource_spans for scope in part.scope_spans)


async def tracing(scale: Scale, sheet: Sheet) -> None:
    """tracing_1pct_ratio."""
    traces = _Counted()
    async with otlp_sink(traces) as endpoint, line.line(None) as off, line.line(None, env=exporting_to(endpoint)) as on:
        runs: dict[str, list[float]] = {"off": [], "on": []}
        for _ in range(min(ROUNDS, scale.rounds)):
            for name, of, share in (("off", off, 0.0), ("on", on, SHARE)):
                runs[name].append(await _through(of, scale, share))
    sheet.put(
        "tracing_1pct_ratio",
        max(runs["on"]) / max(runs["off"]),
        jobs_per_s={name: [round(run) for run in each] for name, each in runs.items()},
        spans_collected=traces.received,
        jobs=scale.ratio_jobs,
        taken="jobs over the seconds of submit and drain; best run of each, runs alternate",
        spans_go_to="an OTLP endpoint in the bench's process",
    )


async def _through(of: Line, scale: Scale, share: float) -> float:
    await of.redis.flushdb()
    submits = await submit(of.scheduler, scale.ratio_jobs, sampled=share)
    drained = await drain(of)
    return 1 / (1 / submits + 1 / drained.per_s)
