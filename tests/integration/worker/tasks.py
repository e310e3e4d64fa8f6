"""Tasks for workers that are processes of their own."""

from __future__ import annotations

import asyncio
import time

from headworks_worker import task


@task(name="spin")
async def spin(seconds: float) -> int:
    """Holds the event loop, in pure Python, and never lets it go."""
    return turns_in(seconds)


@task(name="spin-in-thread")
def spin_in_thread(seconds: float) -> int:
    """The same on a thread."""
    return turns_in(seconds)


@task(name="nap")
async def nap(seconds: float) -> str:
    """Waits as it should."""
    await asyncio.sleep(seconds)
    return "rested"


def turns_in(seconds: float) -> int:
    """Count as fast as Python can."""
    end = time.monotonic() + seconds
    turns = 0
    while time.monotonic() < end:
        turns += 1
    return turns
