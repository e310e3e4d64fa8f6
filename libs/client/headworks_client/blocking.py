"""How clients for code without an event loop work: the same coroutines, over calls that block instead of suspending.

A coroutine that never suspends runs to its end in one step, so whatever the asyncio clients do in coroutines can be
run as it is when the connection under them blocks. No thread and no event loop is involved.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import grpc
from headworks_core.errors import FailedPrecondition, Unavailable
from headworks_core.grpc_errors import from_call

from headworks_client.channel import Connection, channel_options

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end a coroutine that only awaits what a BlockingConnection does."""
    try:
        work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    work.close()
    raise AssertionError("the coroutine suspended")


async def sleeping(seconds: float) -> None:
    """A sleep that blocks."""
    time.sleep(seconds)  # noqa: ASYNC251 - it is meant to block


def iterate(items: AsyncGenerator[T, None]) -> Iterator[T]:
    """The same for an async generator."""
    try:
        while True:
            yield run(anext_of(items))
    except StopAsyncIteration:
        return
    finally:
        run(items.aclose())


async def anext_of(items: AsyncGenerator[T, None]) -> T:
    """The next item, as a coroutine."""
    return await anext(items)


class BlockingConnection(Connection):
    """A connection whose coroutines block the thread. Threads may share it, processes may not."""

    def __init__(self, target: str, *, tenant: str, timeout_s: float) -> None:
        super().__init__(target, tenant=tenant, timeout_s=timeout_s)
        self._blocking: grpc.Channel | None = None
        self._opened_by = 0

    def open(self) -> Any:
        """The channel; it connects when it is first used."""
        if self._blocking is None:
            self._blocking = grpc.insecure_channel(self._target, options=channel_options())
            self._opened_by = os.getpid()
        return self._blocking

    async def close(self) -> None:
        """Ends running calls."""
        if self._blocking is not None:
            self._blocking.close()
            self._blocking = None

    def check(self) -> None:
        """Raises FailedPrecondition where the client cannot be used."""
        if self._blocking is None:
            raise FailedPrecondition("the client is not open: use it inside its `with` block")
        if self._opened_by != os.getpid():
            raise FailedPrecondition("the client was opened before a fork: open one in each process")

    async def _attempt(self, method: Callable[..., Any], request: Any, metadata: tuple[tuple[str, str], ...]) -> Any:
        self.check()
        try:
            return method(request, timeout=self._timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise from_call(error) from None
        except ValueError as error:  # what grpc says of a channel that another thread has closed
            if self._blocking is None:
                raise Unavailable("the client was closed") from error
            raise
