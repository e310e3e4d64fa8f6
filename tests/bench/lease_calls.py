"""`python -m tests.bench.lease_calls TARGET SECONDS`: coroutines that spend permits on lease; how many a second.

`python -m tests.bench.lease_calls TARGET until-refused FILE INDEX`: one that spends until it is refused, and counts in
a file that outlives it, eight bytes for each index.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import sys
import time

import uvloop
from headworks_client import LimiterClient

CALLERS = 64
TURN = 50
"""Permits that a caller spends before others have their turn."""
WARM_S = 0.7
ALL = {"user": "all"}


async def measure(target: str, seconds: float) -> None:
    """Permits a second, all allowed."""
    counted = 0
    async with LimiterClient(target) as client, client.local("leased", ALL, most=10_000_000) as quota:
        begun = time.perf_counter()

        async def caller() -> None:
            nonlocal counted
            while (now := time.perf_counter()) < begun + WARM_S + seconds:
                for _ in range(TURN):
                    if not (await quota.consume()).allowed:
                        raise ValueError("refused")
                counted += TURN * (now >= begun + WARM_S)
                await asyncio.sleep(0)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        counts = quota.counts
    print(json.dumps({"per_s": counted / seconds, "leases": counts.leases}))


async def spend(target: str, path: str, index: int) -> None:
    """Everything that can be had, counted where a kill does not reach."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as counts:  # noqa: ASYNC230 - once, before it begins
        numbers = memoryview(counts).cast("Q")
        async with LimiterClient(target, timeout_s=20) as client, client.local("window", ALL, most=5_000) as quota:
            while (await quota.consume()).allowed:
                numbers[index] += 1
                if not numbers[index] % 1_000:
                    await asyncio.sleep(0)
        numbers.release()
    print(json.dumps({}))


if __name__ == "__main__":
    if sys.argv[2] == "until-refused":
        uvloop.run(spend(sys.argv[1], sys.argv[3], int(sys.argv[4])))
    else:
        uvloop.run(measure(sys.argv[1], float(sys.argv[2])))
