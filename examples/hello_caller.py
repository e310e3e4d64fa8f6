"""A caller of that task."""

import asyncio

from headworks_client import SchedulerClient
from hello_task import greet


async def main() -> None:
    async with SchedulerClient("127.0.0.1:50052"):
        job = await greet.submit(name="world", times=3)  # recorded when this returns
        print(job.name, await job.result(timeout_s=30))


if __name__ == "__main__":
    asyncio.run(main())
