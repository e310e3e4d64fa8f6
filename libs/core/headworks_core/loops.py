"""Background loops: named, supervised, and stopped by cancelling them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog

log = structlog.get_logger(__name__)

CANCEL_AGAIN_S = 2.0


async def every(period_s: float, step: Callable[[], Awaitable[object]], *, name: str) -> None:
    """Run `step` until cancelled, `period_s` apart; a failing step is logged and tried again."""
    while True:
        try:
            await step()
        except Exception as error:
            log.warning("loop.step_failed", loop=name, error=repr(error), retry_in_s=period_s)
        _stop_if_cancelled()
        await asyncio.sleep(period_s)


async def forever(loop: Callable[[], Awaitable[None]], *, name: str, pause_s: float = 0.5) -> None:
    """Run a loop that should never end, and again `pause_s` after it failed."""
    while True:
        try:
            await loop()
        except Exception as error:
            log.warning("loop.failed", loop=name, error=repr(error), restart_in_s=pause_s)
        _stop_if_cancelled()
        await asyncio.sleep(pause_s)


def _stop_if_cancelled() -> None:
    """A cancellation may have been swallowed by a library: the `asyncio.wait_for` of CPython 3.11 keeps one to itself
    that comes just as what it waits for ends. Our Redis connections avoid it (store.py), others use it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


@asynccontextmanager
async def running(*loops: Awaitable[None]) -> AsyncIterator[None]:
    """The loops run while the block does; leaving it cancels them and waits for their end."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield
    finally:
        pending = set(tasks)
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)  # see _stop_if_cancelled
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
