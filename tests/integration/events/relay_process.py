"""A relay in a process of its own, for a test to kill: `python -m ... <redis url> <bootstrap> <topic> <replica>`."""

from __future__ import annotations

import asyncio
import sys

from headworks_core.cells import Meta
from headworks_core.store import redis_client
from headworks_scheduler.relay import Relay, RelayOptions
from headworks_scheduler.sinks.kafka import KafkaOptions, KafkaSink


async def main(url: str, bootstrap: str, topic: str, replica: str) -> None:
    """Relay until somebody ends the process."""
    sink = KafkaSink(KafkaOptions(bootstrap, topic))
    options = RelayOptions(window=50, linger_s=0.01)
    async with redis_client(url, timeout_s=5) as redis:
        await Relay(redis, url, Meta(), sink, replica, options).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
