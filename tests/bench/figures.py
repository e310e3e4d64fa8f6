"""The figures: their names, units, aims and meaning; and the sheet that a run fills in."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

OUT = Path("build/bench.json")
PEERS_OUT = Path("build/bench-peers.json")


class Aim(NamedTuple):
    """What a figure should reach."""

    relation: str
    """">=" or "<"."""
    bound: float

    def met(self, value: float) -> bool:
        """Whether `value` reaches it."""
        return value >= self.bound if self.relation == ">=" else value < self.bound

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:,g}" if self.bound < 1e4 else f"{self.relation} {self.bound:,.0f}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number."""

    unit: str
    meaning: str
    aim: Aim | None = None


def least(bound: float) -> Aim:
    """At least so much."""
    return Aim(">=", bound)


def below(bound: float) -> Aim:
    """Less than so much."""
    return Aim("<", bound)


_DRAIN = "no-op jobs, submitted before, run by one worker process"

OWN: dict[str, Figure] = {
    "jobs_drain_per_s": Figure("jobs/s", f"{_DRAIN}; 1 lane, events to the embedded broker", least(20_000)),
    "jobs_drain_off_per_s": Figure("jobs/s", f"{_DRAIN}; 1 lane, relay off"),
    "jobs_drain_kafka_per_s": Figure("jobs/s", f"{_DRAIN}; 1 lane, events to Apache Kafka"),
    "jobs_drain_1000_lanes_per_s": Figure("jobs/s", f"{_DRAIN}; 1,000 lanes, events to the embedded broker"),
    "jobs_drain_1000_lanes_off_per_s": Figure("jobs/s", f"{_DRAIN}; 1,000 lanes, relay off"),
    "jobs_drain_1000_lanes_kafka_per_s": Figure("jobs/s", f"{_DRAIN}; 1,000 lanes, events to Apache Kafka"),
    "jobs_submit_batch_per_s": Figure("jobs/s", "SubmitJobs in calls of 100, 8 under way, no worker", least(60_000)),
    "jobs_submit_unary_vs_echo": Figure("ratio", "SubmitJob calls/s over those of an empty server", least(0.6)),
    "pickup_p50_ms": Figure("ms", "from the intended submit to the handler's first line, idle system", below(3)),
    "pickup_p99_ms": Figure("ms", "the same", below(10)),
    "pickup_half_p99_ms": Figure("ms", "the same, with other jobs at half capacity", below(20)),
    "queue_op_p95_ms": Figure("ms", "SubmitJob, GetJob, CancelJob by turns, half capacity, open loop", below(10)),
    "claim_cost_ratio_1m": Figure("ratio", "Valkey's time for a claim with 1,000,000 queued over empty", below(2)),
    "bytes_per_queued_job": Figure("bytes", "Valkey's memory for a READY job with a payload of 2 bytes"),
    "sessions_ratio_20": Figure("ratio", "drain by 20 sessions of 2 worker processes over 1 session", least(0.9)),
    "tracing_1pct_ratio": Figure("ratio", "submit and drain with 1 % of jobs sampled over tracing off", least(0.95)),
    "events_relay_per_s": Figure("events/s", "relay of a full outbox to Apache Kafka", least(20_000)),
    "event_latency_p99_ms": Figure("ms", "from the transition to a subscriber of Apache Kafka, 500 jobs/s"),
    "limiter_unary_vs_echo": Figure("ratio", "Consume calls/s over those of an empty server", least(0.8)),
    "limiter_check_p99_ms": Figure("ms", "Consume, 1,000 connected callers, open loop at 25 % of capacity", below(2)),
    "limiter_check_half_p99_ms": Figure("ms", "the same at 50 % of capacity"),
    "limiter_unary_envoy_vs_aio": Figure("ratio", "Consume calls/s inside Envoy over those of grpc.aio", least(2)),
    **{
        f"limiter_check_{share}_{front}_p99_ms": Figure(
            "ms", f"Consume over front {front}, 1,000 connections, open loop at {share} % of that front's capacity"
        )
        for front in ("aio", "envoy")
        for share in (25, 50, 75)
    },
    "limiter_batch_per_s": Figure("decisions/s", "ConsumeBatch of 100, 8 under way"),
    "limiter_stream_per_s": Figure("decisions/s", "ConsumeStream, messages of 100", least(120_000)),
    "limiter_stream_3rules_per_s": Figure(
        "decisions/s", "ConsumeStream, three rules each, messages of 100", least(60_000)
    ),
    "limiter_denied_hot_per_s": Figure("calls/s", "Consume of a user whose limit is used up, 64 callers"),
    "limiter_client_batched_per_s": Figure(
        "decisions/s", "64 coroutines that call LimiterClient.consume()", least(25_000)
    ),
    "limiter_client_batched_vs_unary": Figure("ratio", "the same over plain unary calls of 64 callers", least(4)),
    "limiter_lease_per_s": Figure("permits/s", "LocalQuota.consume() in one process, 64 coroutines", least(500_000)),
    "lease_over_admission": Figure(
        "permits", "spent beyond a fixed window's limit by three processes, one killed in the middle", below(1)
    ),
    "limiter_bytes_per_bucket": Figure(
        "bytes", "Valkey's memory for a gcra bucket, of 100,000; others in the conditions"
    ),
    "jobs_drain_1ms_per_s": Figure("jobs/s", f"{_DRAIN}; 1 lane, relay off, 1 ms to Redis"),
    "pickup_1ms_p99_ms": Figure("ms", "pickup on an idle system, 1 ms to Redis"),
    "limiter_unary_1ms_per_s": Figure("calls/s", "Consume, 1 ms to Redis"),
    "limiter_check_1ms_p99_ms": Figure("ms", "as limiter_check_p99_ms, 1 ms to Redis"),
    "limiter_stream_1ms_per_s": Figure("decisions/s", "as limiter_stream_per_s, 1 ms to Redis"),
}

PEERS: dict[str, Figure] = {
    "jobs_drain_vs_best_peer": Figure("ratio", "drain over the best Python peer's", least(10)),
    "jobs_drain_vs_bullmq": Figure("ratio", "drain over BullMQ's", least(1.2)),
    "jobs_submit_vs_best_peer": Figure("ratio", "submits over the best Python peer's", least(4)),
    "jobs_submit_vs_bullmq": Figure("ratio", "submits over BullMQ's", least(2)),
    "limiter_unary_vs_best_library": Figure("ratio", "unary decisions/s over the best library's, one process each"),
    "limiter_stream_vs_best_library": Figure("ratio", "stream decisions/s over the best library's, one process each"),
}


@dataclass
class Sheet:
    """What was measured, written to its file after every figure."""

    known: Mapping[str, Figure]
    path: Path
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    """Beside the figures: conditions, peers."""

    def put(self, name: str, value: float, **conditions: Any) -> None:
        """Record a figure with what it depends on."""
        figure = self.known[name]
        entry: dict[str, Any] = {"value": rounded(value), "unit": figure.unit}
        if figure.aim is not None:
            entry |= {"aim": str(figure.aim), "met": figure.aim.met(value)}
        self.figures[name] = entry | {"meaning": figure.meaning, "conditions": conditions}
        aim = f"  (aim {entry['aim']}: {'met' if entry['met'] else 'missed'})" if figure.aim else ""
        print(f"  {name:36} {show(entry['value']):>12} {figure.unit}{aim}", flush=True)
        self.write()

    def write(self) -> None:
        """Write the file; figures of earlier runs that this one has not measured stay, with their own conditions."""
        old = read(self.path)
        merged = old.get("figures", {}) | {n: e | {"run": self.more.get("run")} for n, e in self.figures.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        ordered = {name: merged[name] for name in self.known if name in merged}
        self.path.write_text(json.dumps({**old, **self.more, "figures": ordered}, indent=2) + "\n")


def read(path: Path) -> dict[str, Any]:
    """What the file has; nothing if there is none."""
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return stored


def rounded(value: float) -> float | int:
    """Three or four significant digits are all that a shared machine can tell."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")


def show(value: float) -> str:
    """For people."""
    return f"{value:,}"


def spin_ms() -> list[int]:
    """How long a fixed piece of Python takes on every core at once: how fast the machine is at the moment."""
    loop = "import time; t = time.perf_counter(); sum(i * i for i in range(5_000_000)); print(time.perf_counter() - t)"
    argv = [sys.executable, "-c", loop]
    spinning = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(os.cpu_count() or 1)]
    return [round(float(process.communicate()[0]) * 1000) for process in spinning]


def conditions() -> dict[str, Any]:
    """What all figures of a run depend on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "machine": _processor(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "spin_ms": spin_ms(),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
