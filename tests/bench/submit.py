"""How fast jobs are accepted."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc
import uvloop
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub

from tests.bench import line, programs
from tests.bench.figures import Sheet
from tests.bench.loadgen import Load, generate
from tests.bench.scale import Scale

BATCH = 100
CALLS = 8  # batches under way at a time
ROUNDS = 3
TRACE = "00-{:032x}-{:016x}-01"


async def submit(target: str, jobs: int, *, lanes: int = 1, sampled: float = 0.0) -> float:
    """Submit no-ops in batches from a process of its own; jobs per second. `sampled`: share with a sampled trace."""
    spec = json.dumps({"target": target, "jobs": jobs, "lanes": lanes, "sampled": sampled})
    found = await programs.run("tests.bench.submit", spec)
    return float(found["per_s"])


def _requests(jobs: int, lanes: int, sampled: float) -> list[pb.SubmitJobsRequest]:
    """Built before the clock runs. Lane `n % lanes` for the n-th job; the single lane is the empty one."""
    payload, every = job_pb2.Payload(data=b"{}"), round(1 / sampled) if sampled else 0
    lane_names = [f"lane-{n}" for n in range(lanes)] if lanes > 1 else [""]
    specs = [job_pb2.JobSpec(task="bench.noop", payload=payload, lane=name) for name in lane_names]

    def one(n: int) -> pb.JobSubmission:
        trace = TRACE.format(n + 1, n + 1) if every and n % every == 0 else ""
        return pb.JobSubmission(spec=specs[n % lanes], traceparent=trace)

    if lanes == 1 and not every:
        same = pb.SubmitJobsRequest(jobs=[one(0)] * BATCH)
        return [same] * (jobs // BATCH)
    return [pb.SubmitJobsRequest(jobs=[one(at + n) for n in range(BATCH)]) for at in range(0, jobs, BATCH)]


async def _main(target: str, jobs: int, lanes: int, sampled: float) -> None:
    requests = _requests(jobs, lanes, sampled)
    count = len(requests) * BATCH

    async def caller(stub: Any) -> None:
        while requests:
            response = await stub.SubmitJobs(requests.pop())
            assert len(response.results) == BATCH
            assert all(result.name for result in response.results)

    async with grpc.aio.insecure_channel(target) as channel:
        await channel.channel_ready()
        stub = SchedulerServiceStub(channel)
        begun = time.perf_counter()
        await asyncio.gather(*(caller(stub) for _ in range(CALLS)))
        print(json.dumps({"per_s": count / (time.perf_counter() - begun)}))


async def batches(scale: Scale, sheet: Sheet) -> None:
    """jobs_submit_batch_per_s."""
    async with line.line(None) as of:
        runs = []
        for _ in range(ROUNDS):
            runs.append(await submit(of.scheduler, scale.submit_jobs))
            await of.redis.flushdb()  # hw:meta too, which a running scheduler does not need any more
    told = {"jobs": scale.submit_jobs, "batch": BATCH, "calls_under_way": CALLS, "load": "one process"}
    sheet.put("jobs_submit_batch_per_s", max(runs), runs_per_s=[round(run) for run in runs], **told, taken="best run")


async def unary(scale: Scale, sheet: Sheet) -> None:
    """jobs_submit_unary_vs_echo."""
    callers = 64
    async with line.line(None) as of, programs.serving("tests.bench.echo") as (port, echo):
        targets = {"echo": (f"127.0.0.1:{port}", echo.pid), "scheduler": (of.scheduler, of.pids["scheduler"])}
        runs: dict[str, list[float]] = {name: [] for name in targets}
        cpu_us: dict[str, float] = {}
        for _ in range(scale.rounds):
            for name, (target, pid) in targets.items():
                before = programs.cpu_s(pid)
                load = Load(target=target, workload="submit", callers=callers, seconds=scale.run_s, warm_s=scale.warm_s)
                found = await generate(load)
                runs[name].append(found["per_s"])
                spent = programs.cpu_s(pid) - before
                cpu_us[name] = round(spent / (found["per_s"] * (scale.run_s + scale.warm_s)) * 1e6)
    sheet.put(
        "jobs_submit_unary_vs_echo",
        max(runs["scheduler"]) / max(runs["echo"]),
        callers=callers,
        submits_per_s=[round(run) for run in runs["scheduler"]],
        echo_per_s=[round(run) for run in runs["echo"]],
        server_cpu_us_per_call=cpu_us,
        taken="best run of each, runs alternate",
    )


if __name__ == "__main__":
    uvloop.run(_main(**json.loads(sys.argv[1])))
