"""taskiq with the broker of its README (streams, with acknowledgements), no results, 100 read at a time."""

import asyncio

import uvloop
from counting import ran
from submitting import JOBS, SECONDS, URL, gathered
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(URL, consumer_id="0", xread_count=100)


@broker.task(task_name="noop")
async def noop() -> None:
    """Count."""
    ran()


async def main():
    """Submit."""
    await broker.startup()
    await gathered(noop.kiq, JOBS, SECONDS)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main())
