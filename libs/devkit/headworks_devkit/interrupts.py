"""Ctrl-C and SIGTERM as cancellation: whatever runs is left in order, at any time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal ended the work after everything was stopped in order."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.exit_code = 128 + number


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run `main` in an event loop and return its exit code.

    A signal cancels it, so that every context manager is left; each further one cancels again, which turns waiting for
    a process into killing it. Raises Interrupted when the cancelled `main` has ended.
    """
    with asyncio.Runner() as runner:
        return runner.run(_interruptible(main))


async def _interruptible(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main())
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise Interrupted(received[0]) from None
        raise
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def until_interrupted(wait: Awaitable[object]) -> None:
    """Wait; a signal ends the waiting without being passed on."""
    with suppress(asyncio.CancelledError):
        await wait
