"""A broker in a process of its own, which a test may pause or kill."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headworks_devkit.backends.kafka_embedded import embedded_kafka
from headworks_devkit.processes import Child, child

from tests.support.wait import wait_until

ADDRESS = "address "


@dataclass(frozen=True)
class OwnBroker:
    """Where it is, and the process."""

    bootstrap: str
    process: Child


@asynccontextmanager
async def own_broker() -> AsyncIterator[OwnBroker]:
    """The embedded broker as a process; it ends with the block."""
    async with child("broker", [sys.executable, "-m", "tests.integration.events.brokers"]) as process:
        line = await wait_until(lambda: next((li for li in process.tail if li.startswith(ADDRESS)), None), 20)
        assert line is not None
        yield OwnBroker(line.removeprefix(ADDRESS), process)


async def main() -> None:
    """Be that process."""
    async with embedded_kafka() as broker:
        sys.stdout.write(f"{ADDRESS}{broker.bootstrap}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
