"""`python -m tests.bench.subscriber BOOTSTRAP TOPIC EVENTS`: reads so many events; says how old they were.

Prints `ready` when it misses nothing any more, and in the end the ages in JSON. An event's time is that of its
transition, by the store's clock: on one machine that is ours too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop
from headworks_client.events import EventReader

from tests.bench.loadgen import percentiles

LIMIT_S = 30.0


async def main(bootstrap: str, topic: str, count: int) -> None:
    """Read, then print."""
    ages: list[float] = []
    async with EventReader(bootstrap, topic=topic, group="bench", from_beginning=False) as reader:
        await reader.ready()
        print("ready", flush=True)
        reading = asyncio.ensure_future(_read(reader, count, ages))
        done, _ = await asyncio.wait({reading}, timeout=LIMIT_S)
        reading.cancel()
    print(json.dumps({"events": len(ages), "complete": bool(done), **percentiles(ages[len(ages) // 10 :])}))


async def _read(reader: EventReader, count: int, ages: list[float]) -> None:
    async for event in reader:
        ages.append((time.time() - event.time.timestamp()) * 1000)
        if len(ages) == count:
            return


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
