"""What the submitting programs share: how many, how long, a line that says how fast. Runs in a peer's environment."""

import asyncio
import json
import os
import time

URL = os.environ["BENCH_REDIS_URL"]
JOBS = int(os.environ.get("BENCH_JOBS", "0"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
CALLS = 32  # under way at a time: what streaQ's own comparison of arq, SAQ, taskiq and streaQ uses


async def gathered(enqueue, jobs, seconds, *, per_call=1):
    """Call `enqueue()` until there are enough jobs or the time is over, CALLS at a time."""
    for _ in range(CALLS):  # connections and scripts are there when the clock starts
        await enqueue()
    left, done, begun = jobs, CALLS * per_call, time.perf_counter()

    async def caller():
        nonlocal left, done
        while left > 0 and time.perf_counter() - begun < seconds:
            left -= per_call
            await enqueue()
            done += per_call

    await asyncio.gather(*(caller() for _ in range(CALLS)))
    print(json.dumps({"jobs": done, "per_s": (done - CALLS * per_call) / (time.perf_counter() - begun)}), flush=True)


def one_by_one(enqueue, jobs, seconds):
    """The same for a client that blocks."""
    for _ in range(CALLS):
        enqueue()
    done, begun = 0, time.perf_counter()
    while done < jobs and time.perf_counter() - begun < seconds:
        enqueue()
        done += 1
    print(json.dumps({"jobs": done + CALLS, "per_s": done / (time.perf_counter() - begun)}), flush=True)
