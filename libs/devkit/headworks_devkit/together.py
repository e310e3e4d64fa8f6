"""Several async context managers entered at the same time and left at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def together(*managers: AbstractAsyncContextManager[T]) -> AsyncIterator[list[T]]:
    """Yields what each gave, in their order, once all are entered.

    The first that fails to enter ends the rest, and its error is raised. Each is entered and left in a task of its
    own; cancelling us while they are being left cancels those tasks, so a manager can hurry.
    """
    loop = asyncio.get_running_loop()
    leave = asyncio.Event()
    entered: list[asyncio.Future[T]] = [loop.create_future() for _ in managers]
    tasks = [asyncio.create_task(_hold(m, e, leave)) for m, e in zip(managers, entered, strict=True)]
    try:
        values = await asyncio.gather(*entered)
    except BaseException:
        await _end(tasks, cancel=True)
        raise
    try:
        yield values
    finally:
        leave.set()
        await _end(tasks, cancel=False)


async def _hold(manager: AbstractAsyncContextManager[T], entered: asyncio.Future[T], leave: asyncio.Event) -> None:
    try:
        async with manager as value:
            if not entered.done():
                entered.set_result(value)
            await leave.wait()
    except Exception as error:
        if entered.done():
            raise
        entered.set_exception(error)


async def _end(tasks: list[asyncio.Task[None]], *, cancel: bool) -> None:
    """Wait for all of them, whatever happens to us meanwhile; a failure on leaving is raised."""
    interrupted: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        if cancel:
            for task in pending:
                task.cancel()
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            interrupted, cancel = error, True
        else:
            break
    if interrupted is not None:
        raise interrupted
    for task in tasks:
        if not task.cancelled():
            task.result()
