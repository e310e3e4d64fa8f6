"""One ConsumeStream: many messages under way, each answered for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from headworks_core.errors import InvalidArgument, Reason, Unavailable
from headworks_core.serving import MessageStream

from headworks_limiter.wire import RawBatch, RawResults

MAX_UNDER_WAY = 16
"""Messages of a stream that wait for their answers, or their answers for the caller; no more are read meanwhile."""


class Consumption:
    """Answers the messages of one stream until the caller half-closes, makes a mistake, or is sent elsewhere."""

    def __init__(
        self,
        stream: MessageStream[RawBatch, RawResults],
        answer: Callable[[RawBatch], Coroutine[Any, Any, RawResults]],
    ) -> None:
        """`answer` raises InvalidArgument at the call, before it is awaited, for a message that ends the stream."""
        self._stream = stream
        self._answer = answer
        self._room = asyncio.Semaphore(MAX_UNDER_WAY)
        self._writing = asyncio.Lock()
        self._mistake: InvalidArgument | None = None
        self._drained = False
        self._reading: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """What was asked is answered in any case, before the error if there is one.

        Raises InvalidArgument for the caller's mistake, and Unavailable (SHUTTING_DOWN) after `drain`.
        """
        async with asyncio.TaskGroup() as tasks:
            self._reading = tasks.create_task(self._read(tasks))
        if self._mistake is not None:
            raise self._mistake
        if self._drained:
            raise Unavailable("this replica is going away", reason=Reason.SHUTTING_DOWN)

    def drain(self) -> None:
        """Read no more; `run` ends when what was read is answered."""
        self._drained = True
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        try:
            while True:
                await self._room.acquire()
                message = await self._stream.read()
                if message is None:
                    return
                tasks.create_task(self._serve(self._answer(message)))
        except InvalidArgument as error:
            self._mistake = error

    async def _serve(self, work: Coroutine[Any, Any, RawResults]) -> None:
        reply = await work
        async with self._writing:
            await self._stream.write(reply)
        self._room.release()
