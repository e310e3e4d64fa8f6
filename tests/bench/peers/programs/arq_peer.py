"""arq: no results, poll often, many jobs a worker (docs: Worker's max_jobs, poll_delay, keep_result)."""

import asyncio

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from counting import ran
from submitting import JOBS, SECONDS, URL, gathered

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
REDIS = RedisSettings.from_dsn(URL)


async def noop(ctx: dict) -> None:
    """Count."""
    ran()


class WorkerSettings:
    """What `arq` reads."""

    functions = (noop,)
    redis_settings = REDIS
    max_jobs = 100
    poll_delay = 0.01
    keep_result = 0


async def main() -> None:
    """Submit."""
    pool = await create_pool(REDIS)
    await gathered(lambda: pool.enqueue_job("noop"), JOBS, SECONDS)


if __name__ == "__main__":
    asyncio.run(main())
