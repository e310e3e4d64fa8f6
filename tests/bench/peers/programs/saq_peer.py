"""SAQ: hiredis and uvloop (its README's extras), no results kept, no waiting for room."""

import asyncio

import uvloop
from counting import ran
from saq import Queue
from submitting import JOBS, SECONDS, URL, gathered

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
queue = Queue.from_url(URL, max_concurrent_ops=100)


async def noop(ctx):
    """Count."""
    ran()


settings = {"queue": queue, "functions": [noop], "concurrency": 100}


async def main():
    """Submit."""
    await queue.connect()
    await gathered(lambda: queue.enqueue("noop", ttl=-1), JOBS, SECONDS)  # ttl -1: no result is kept


if __name__ == "__main__":
    asyncio.run(main())
