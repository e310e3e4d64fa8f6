"""Background loops: named, supervised, and stopped by cancelling them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import structlog

log = structlog.get_logger(__name__)


async def every(period_s: float, step: Callable[[], Awaitable[object]], *, name: str) -> None:
    """Run `step` until cancelled, `period_s` apart; a failing step is logged and tried again."""
    while True:
        try:
            await step()
        except Exception as error:
            log.warning("loop.step_failed", loop=name, error=repr(error), retry_in_s=period_s)
        await asyncio.sleep(period_s)


async def forever(loop: Callable[[], Awaitable[None]], *, name: str, pause_s: float = 0.5) -> None:
    """Run a loop that should never end, and again `pause_s` after it failed."""
    while True:
        try:
            await loop()
        except Exception as error:
            log.warning("loop.failed", loop=name, error=repr(error), restart_in_s=pause_s)
        await asyncio.sleep(pause_s)


@asynccontextmanager
async def running(*loops: Awaitable[None]) -> AsyncIterator[None]:
    """The loops run while the block does; leaving it cancels them and waits for their end."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
