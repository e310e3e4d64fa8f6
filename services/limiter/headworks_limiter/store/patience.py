"""A timeout that blames the store only for its own slowness."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

SLICES = 10


async def within(timeout_s: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, if it comes in time; raises TimeoutError otherwise.

    A busy loop runs a timer late, and before it reads an answer that has long been there. So time is counted in slices,
    and one that the loop has stretched counts as one: the work gets at least SLICES turns.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_retrieve)
    try:
        for _ in range(SLICES):
            await asyncio.wait((task,), timeout=timeout_s / SLICES)
            if task.done():
                return task.result()
    finally:
        task.cancel()
    raise TimeoutError


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Take note of an outcome that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
