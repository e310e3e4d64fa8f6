"""What the programs of the limiter libraries share. Runs in a library's environment."""

import asyncio
import itertools
import json
import os
import time

URL = os.environ["BENCH_REDIS_URL"]
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
WARM_S = 0.5
CALLERS = 64
USERS = [f"user-{number}" for number in range(1_000)]


def report(counted, seconds):
    """Print it."""
    print(json.dumps({"per_s": counted / seconds}), flush=True)


async def concurrent(hit, seconds):
    """64 callers that each wait for their decision."""
    users, counted = itertools.cycle(USERS), 0
    begun = time.perf_counter()

    async def caller():
        nonlocal counted
        while (now := time.perf_counter()) < begun + WARM_S + seconds:
            if not await hit(next(users)):
                raise SystemExit("refused")
            counted += now >= begun + WARM_S

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    report(counted, seconds)


def blocking(hit, seconds):
    """One decision after the other."""
    users, counted = itertools.cycle(USERS), 0
    begun = time.perf_counter()
    while (now := time.perf_counter()) < begun + WARM_S + seconds:
        if not hit(next(users)):
            raise SystemExit("refused")
        counted += now >= begun + WARM_S
    report(counted, seconds)
