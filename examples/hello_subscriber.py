"""Hears what became of jobs."""

import asyncio

from headworks_client.events import EventReader


async def main() -> None:
    async with EventReader("127.0.0.1:9092", group="hello") as reader:
        async for event in reader:  # each event once, committed when the next is asked for
            print(event.transition, event.data.task, event.subject)


if __name__ == "__main__":
    asyncio.run(main())
