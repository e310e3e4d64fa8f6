"""Hears what becomes of jobs: prints every event once, and commits it when that is done.

    python examples/subscriber.py [bootstrap] [group]

Start it twice with one group and the two share the events; kill it and start it again, and it goes on where it was.
"""

from __future__ import annotations

import asyncio
import sys

from headworks_client.events import Event, EventReader


async def handle(event: Event) -> None:
    """Whatever is done here is done at least once an event, and inside the event's trace."""
    line = f"{event.time:%H:%M:%S.%f}  {event.transition:<10} {event.data.task:<20} {event.subject}"
    if event.data.HasField("failure"):
        line += f"  {event.data.failure.error_class}: {event.data.failure.message}"
    print(line)


async def main(bootstrap: str = "127.0.0.1:9092", group: str = "example") -> None:
    """Subscribe until Ctrl-C."""
    async with EventReader(bootstrap, group=group) as reader:
        try:
            await reader.run(handle)
        finally:
            print(f"{reader.stats.unique} events, {reader.stats.duplicates} duplicates")


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
