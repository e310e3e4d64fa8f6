"""`make bench`: own figures, as they come and in build/bench.json. Never a gate."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tests.bench import bucket_memory, claims, compared, drain, events, far, fronts, leases, limits, pickup, submit
from tests.bench.figures import OUT, OWN, Sheet, conditions
from tests.bench.scale import FULL, QUICK, Scale

FRONT_LATENCY = tuple(f"limiter_check_{share}_" for share in fronts.SHARES)
GROUPS: dict[str, tuple[Callable[[Scale, Sheet], Awaitable[None]], tuple[str, ...]]] = {
    "drain": (drain.run, tuple(name for name in OWN if name.startswith("jobs_drain_") and "1ms" not in name)),
    "submit": (submit.batches, ("jobs_submit_batch_per_s",)),
    "submit-unary": (submit.unary, ("jobs_submit_unary_vs_echo",)),
    "pickup": (pickup.run, ("pickup_p50_ms", "pickup_p99_ms", "pickup_half_p99_ms")),
    "queue-ops": (pickup.queue_ops, ("queue_op_p95_ms",)),
    "claims": (claims.run, ("claim_cost_ratio_1m", "bytes_per_queued_job")),
    "sessions": (compared.many_sessions, ("sessions_ratio_20",)),
    "tracing": (compared.tracing, ("tracing_1pct_ratio",)),
    "events": (events.run, ("events_relay_per_s", "event_latency_p99_ms")),
    "limiter": (limits.unary, ("limiter_unary_vs_echo",)),
    "limiter-latency": (limits.latency, ("limiter_check_p99_ms", "limiter_check_half_p99_ms")),
    "limiter-fronts": (fronts.throughput, ("limiter_unary_envoy_vs_aio",)),
    "limiter-fronts-latency": (fronts.latency, tuple(name for name in OWN if name.startswith(FRONT_LATENCY))),
    "limiter-batch": (limits.batch, ("limiter_batch_per_s",)),
    "limiter-stream": (limits.stream, ("limiter_stream_per_s",)),
    "limiter-stream-3": (limits.stream_three, ("limiter_stream_3rules_per_s",)),
    "limiter-denied": (limits.denied, ("limiter_denied_hot_per_s",)),
    "limiter-client": (limits.client, ("limiter_client_batched_per_s", "limiter_client_batched_vs_unary")),
    "limiter-leases": (leases.rate, ("limiter_lease_per_s",)),
    "limiter-leases-killed": (leases.over_admission, ("lease_over_admission",)),
    "limiter-memory": (bucket_memory.run, ("limiter_bytes_per_bucket",)),
    "far-jobs": (far.jobs, ("jobs_drain_1ms_per_s", "pickup_1ms_p99_ms")),
    "far-limiter": (far.limiter, ("limiter_unary_1ms_per_s", "limiter_check_1ms_p99_ms", "limiter_stream_1ms_per_s")),
}


def chosen(only: Sequence[str]) -> list[str]:
    """The groups to run: by their names or by those of figures; all for none. Raises KeyError."""
    for name in only:
        if name not in GROUPS and name not in OWN:
            raise KeyError(f"no figure or group {name}; groups: {', '.join(GROUPS)}")
    return [group for group, (_, names) in GROUPS.items() if not only or {group, *names} & {*only}]


async def measure(groups: Sequence[str], scale: Scale, sheet: Sheet) -> list[str]:
    """Run the groups one after the other; the names of those that failed."""
    failed = []
    for number, name in enumerate(groups, 1):
        print(f"[{number}/{len(groups)}] {name}", flush=True)
        began = time.perf_counter()
        try:
            await GROUPS[name][0](scale, sheet)
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"  took {time.perf_counter() - began:.0f} s", flush=True)
    return failed


def main(argv: Sequence[str]) -> int:
    """Measure, print, write; 1 when a group could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a figure or a group; repeatable")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work? the numbers mean nothing")
    parser.add_argument("--out", type=Path, default=None, help=f"instead of {OUT}")
    told = parser.parse_args(argv)
    try:
        groups = chosen(told.only)
    except KeyError as error:
        parser.error(error.args[0])
    out = told.out or (OUT.with_stem("bench-quick") if told.quick else OUT)
    sheet = Sheet(OWN, out, more={"run": conditions() | {"quick": told.quick}})
    began = time.perf_counter()
    failed = asyncio.run(measure(groups, QUICK if told.quick else FULL, sheet))
    print(f"written to {out} after {time.perf_counter() - began:.0f} s")
    if failed:
        print(f"not measured: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
