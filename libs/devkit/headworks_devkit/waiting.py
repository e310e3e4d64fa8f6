"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

PERIOD_S = 0.01


@overload
async def wait_until(
    predicate: Callable[[], Awaitable[T]], timeout_s: float = ..., *, what: str = ..., period_s: float = ...
) -> T: ...
@overload
async def wait_until(
    predicate: Callable[[], T], timeout_s: float = ..., *, what: str = ..., period_s: float = ...
) -> T: ...
async def wait_until(
    predicate: Callable[[], T | Awaitable[T]], timeout_s: float = 10.0, *, what: str = "", period_s: float = PERIOD_S
) -> T:
    """Call `predicate` (plain or async) until it answers something true, and return that.

    Raises TimeoutError, naming `what` was waited for, after `timeout_s` seconds.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                outcome = predicate()
                value: T = await outcome if inspect.isawaitable(outcome) else outcome
                if value:
                    return value
                await asyncio.sleep(period_s)
    except TimeoutError as error:
        raise TimeoutError(f"waited {timeout_s} s in vain for {what or predicate}") from error
