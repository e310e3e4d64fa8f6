"""`python -m tests.bench.client_calls TARGET SECONDS`: coroutines that call LimiterClient.consume(), as users do."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time

import uvloop
from headworks_client import LimiterClient

CALLERS = 64
WARM_S = 0.7
USERS = [{"user": f"user-{number}", "endpoint": "GET /x"} for number in range(1_000)]


async def main(target: str, seconds: float) -> None:
    """Decisions a second, all allowed."""
    users, counted = itertools.cycle(USERS), 0
    async with LimiterClient(target) as client:
        begun = time.perf_counter()

        async def caller() -> None:
            nonlocal counted
            while (now := time.perf_counter()) < begun + WARM_S + seconds:
                if not (await client.consume("bench", next(users))).allowed:
                    raise ValueError("refused")
                counted += now >= begun + WARM_S

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    print(json.dumps({"per_s": counted / seconds}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], float(sys.argv[2])))
