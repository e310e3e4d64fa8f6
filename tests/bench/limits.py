"""How fast the limiter decides, held against an empty server of the same messages."""

from __future__ import annotations

from typing import Any

from headworks_devkit.backends.valkey import valkey

from tests.bench import line, programs
from tests.bench.figures import Sheet
from tests.bench.loadgen import Load, generate
from tests.bench.pickup import open_told
from tests.bench.scale import Scale

CALLERS = 64
BATCHES = 8  # under way
RULE = "one gcra rule by user, 1,000 users, all allowed"


async def unary(scale: Scale, sheet: Sheet) -> None:
    """limiter_unary_vs_echo."""
    async with valkey() as store, line.limiter(store) as (address, pid), programs.serving("tests.bench.echo") as echo:
        targets = {"echo": (f"127.0.0.1:{echo[0]}", echo[1].pid), "limiter": (address, pid)}
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in targets}
        cpu_us: dict[str, list[float]] = {name: [] for name in targets}
        for _ in range(scale.rounds):
            for name, (target, of) in targets.items():
                before = programs.cpu_s(of)
                found = await generate(closed(target, "consume", CALLERS, scale))
                spent, calls = programs.cpu_s(of) - before, found["per_s"] * (scale.run_s + scale.warm_s)
                cpu_us[name].append(spent / calls * 1e6)
                runs[name].append(found)
    best = {name: max(each, key=lambda found: float(found["per_s"])) for name, each in runs.items()}
    sheet.put(
        "limiter_unary_vs_echo",
        best["limiter"]["per_s"] / best["echo"]["per_s"],
        callers=CALLERS,
        rule=RULE,
        limiter_per_s=[round(found["per_s"]) for found in runs["limiter"]],
        echo_per_s=[round(found["per_s"]) for found in runs["echo"]],
        limiter_closed_p50_ms=best["limiter"]["p50_ms"],
        limiter_closed_p99_ms=best["limiter"]["p99_ms"],
        server_cpu_us_per_call={name: round(min(each)) for name, each in cpu_us.items()},
        taken="best run of each, runs alternate; both on uvloop",
    )


async def latency(scale: Scale, sheet: Sheet) -> None:
    """limiter_check_p99_ms at 25 % and 50 % of capacity."""
    async with (
        valkey() as store,
        line.limiter(store) as (address, _),
        programs.serving("tests.bench.echo") as (port, _),
    ):
        capacity = await capacity_per_s(address, scale)
        for name, share in (("limiter_check_p99_ms", 0.25), ("limiter_check_half_p99_ms", 0.5)):
            rate = capacity * share
            echo = await generate(opened(f"127.0.0.1:{port}", rate, scale))
            found = await generate(opened(address, rate, scale))
            sheet.put(
                name,
                found["p99_ms"],
                connections=scale.connections,
                rate_per_s=round(rate),
                capacity_per_s=round(capacity),
                echo_p50_ms=echo["p50_ms"],
                echo_p99_ms=echo["p99_ms"],
                **open_told(found),
                rule=RULE,
            )


async def client(scale: Scale, sheet: Sheet) -> None:
    """limiter_client_batched_*."""
    runs: dict[str, list[float]] = {"client": [], "unary": []}
    async with valkey() as store, line.limiter(store) as (address, _):
        for _ in range(min(3, scale.rounds)):
            runs["unary"].append((await generate(closed(address, "consume", CALLERS, scale)))["per_s"])
            runs["client"].append((await programs.run("tests.bench.client_calls", address, scale.run_s))["per_s"])
    best = {name: max(each) for name, each in runs.items()}
    told: dict[str, Any] = {f"{name}_runs_per_s": [round(run) for run in each] for name, each in runs.items()}
    told |= {"callers": CALLERS, "rule": RULE, "taken": "best run of each, runs alternate; with request ids"}
    sheet.put("limiter_client_batched_per_s", best["client"], **told)
    sheet.put("limiter_client_batched_vs_unary", best["client"] / best["unary"], **told)


async def batch(scale: Scale, sheet: Sheet) -> None:
    """limiter_batch_per_s."""
    await _messages("limiter_batch_per_s", "consume_batch", scale, sheet)


async def stream(scale: Scale, sheet: Sheet) -> None:
    """limiter_stream_per_s."""
    await _messages("limiter_stream_per_s", "consume_stream", scale, sheet)


async def stream_three(scale: Scale, sheet: Sheet) -> None:
    """limiter_stream_3rules_per_s."""
    rules = "gcra by user, sliding_window_counter by endpoint, fixed_window for all"
    await _messages("limiter_stream_3rules_per_s", "consume_stream_3", scale, sheet, rule=rules)


async def denied(scale: Scale, sheet: Sheet) -> None:
    """limiter_denied_hot_per_s."""
    async with valkey() as store, line.limiter(store) as (address, pid):
        best, runs, cpu_us = await best_of(address, pid, "consume_denied", scale, CALLERS)
    told = {"callers": CALLERS, "connections": 1, "rule": "one a day, by user", "taken": "best run"}
    sheet.put("limiter_denied_hot_per_s", best, runs_per_s=runs, limiter_cpu_us_per_decision=cpu_us, **told)


async def _messages(name: str, workload: str, scale: Scale, sheet: Sheet, *, rule: str = RULE) -> None:
    async with valkey() as store, line.limiter(store) as (address, pid):
        best, runs, cpu_us = await best_of(address, pid, workload, scale)
    told = {"messages_of": 100, "under_way": BATCHES, "connections": 1, "rule": rule}
    sheet.put(name, best, runs_per_s=runs, limiter_cpu_us_per_decision=cpu_us, **told, taken="best run")


async def best_of(
    address: str, pid: int, workload: str, scale: Scale, callers: int = BATCHES
) -> tuple[float, list[int], float]:
    """Decisions per second of the best run, all runs, and the least CPU a decision cost the limiter."""
    runs, cpu_us = [], []
    for _ in range(min(3, scale.rounds)):
        before = programs.cpu_s(pid)
        found = await generate(closed(address, workload, callers, scale))
        if found["errors"]:
            raise RuntimeError(f"{workload}: {found['first_error']}")
        runs.append(found["per_s"])
        cpu_us.append((programs.cpu_s(pid) - before) / (found["per_s"] * (scale.run_s + scale.warm_s)) * 1e6)
    return max(runs), [round(run) for run in runs], round(min(cpu_us), 1)


async def capacity_per_s(address: str, scale: Scale) -> float:
    """Unary calls per second that all connections together get out of it."""
    load = Load(
        target=address,
        workload="consume",
        connections=scale.connections,
        callers=min(scale.connections, 256),
        seconds=scale.run_s,
        warm_s=max(1.0, scale.warm_s),
    )
    return float((await generate(load))["per_s"])


def closed(target: str, workload: str, callers: int, scale: Scale) -> Load:
    """A closed loop on one connection."""
    return Load(target=target, workload=workload, callers=callers, seconds=scale.run_s, warm_s=scale.warm_s)


def opened(target: str, rate: float, scale: Scale) -> Load:
    """An open loop of unary calls over all connections."""
    return Load(
        target=target,
        workload="consume",
        connections=scale.connections,
        rate=rate,
        seconds=scale.open_s,
        warm_s=1.0,
    )
