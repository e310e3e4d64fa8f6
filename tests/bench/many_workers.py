"""`python -m tests.bench.many_workers TARGET SESSIONS SLOTS`: so many workers in one process, each with a session.

Prints `ready` when all are attached.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack

import uvloop
from headworks_core.serving import until_signalled
from headworks_worker.worker import Worker

from tests.bench.tasks import noop


async def main(target: str, sessions: int, slots: int) -> None:
    """Run until a signal."""
    attached: set[int] = set()

    def on_ready(number: int, ready: bool) -> None:
        if ready and number not in attached:
            attached.add(number)
            if len(attached) == sessions:
                print("ready", flush=True)

    async with AsyncExitStack() as stack:
        for number in range(sessions):
            worker = Worker(
                [noop],
                scheduler=target,
                slots=slots,
                shutdown_grace_s=2,
                on_ready=lambda ready, number=number: on_ready(number, ready),  # type: ignore[misc]
            )
            await stack.enter_async_context(worker)
        await until_signalled(stack)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
