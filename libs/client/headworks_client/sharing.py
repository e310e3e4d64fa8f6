"""Concurrent requests for permits share the messages of one ConsumeStream."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Any

import grpc
from headworks.limiter.v1 import limiter_pb2
from headworks.limiter.v1 import limiter_service_pb2 as pb
from headworks_core.errors import ServiceError, Unavailable
from headworks_core.grpc_errors import from_call

from headworks_client.backoff import Backoff

log = logging.getLogger(__name__)

MESSAGE_MAX = 500
"""Requests a message, as many as a limiter takes."""
UNDER_WAY = 4
"""Messages without an answer, at most."""
LEAST, USUAL = 32, 160
"""A message takes half of what waits and is under way, within these bounds: so client and limiter work at the same
time, and each message is worth its cost. It takes more than USUAL where as many could not be under way otherwise."""
FOLLOWS = 0.25
"""The share of the requests under way that another message must have to follow at once; fewer wait for company."""
STREAM_S = 60.0
"""After that a new stream is opened, which may find another replica."""
TRIES = 4
"""Streams that a request is sent on before it fails, as a unary call is tried."""
AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL})
"""The last is what grpc.aio makes of a write to a stream that has just ended, whatever it ended with."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0


@dataclass(slots=True, eq=False)
class _Asked:
    """A request that waits for its result. It has an id, so it may be sent again."""

    request: limiter_pb2.PermitRequest
    result: asyncio.Future[limiter_pb2.PermitResult]
    give_up_at: float
    tries: int = 0


class SharedStream:
    """One stream for any number of callers. Opened when it is first needed, and again whenever it breaks."""

    def __init__(self, open_stream: Callable[[], Any], *, timeout_s: float) -> None:
        """`open_stream` begins a ConsumeStream call; `timeout_s` bounds the wait of each caller."""
        self._open_stream = open_stream
        self._timeout_s = timeout_s
        self._waiting: deque[_Asked] = deque()
        self._sent: dict[int, list[_Asked]] = {}
        """By the ids of the messages that have no answer yet."""
        self._oldest: deque[_Asked] = deque()
        """In the order in which their callers give up, with some that have been answered."""
        self._giving_up: asyncio.TimerHandle | None = None
        self._ids = itertools.count(1)
        self._changed = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._trouble = ""

    async def ask(self, request: limiter_pb2.PermitRequest) -> limiter_pb2.PermitResult:
        """The result of one request, which must have an id. Raises what ended the stream, or Unavailable."""
        loop = asyncio.get_running_loop()
        asked = _Asked(request, loop.create_future(), loop.time() + self._timeout_s)
        self._waiting.append(asked)
        self._changed.set()
        if self._work is None:
            self._work = loop.create_task(self._run(), name="headworks-consume-stream")
        while self._oldest and self._oldest[0].result.done():
            self._oldest.popleft()
        self._oldest.append(asked)
        if self._giving_up is None:
            self._giving_up = loop.call_at(asked.give_up_at, self._give_up)
        return await asked.result

    async def close(self) -> None:
        """End the stream; whoever still waits gets Unavailable."""
        if self._work is not None:
            self._work.cancel()
            with suppress(asyncio.CancelledError):
                await self._work
            self._work = None
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        self._fail(Unavailable("the client was closed"))

    def _give_up(self) -> None:
        """One timer for all: they give up in the order in which they came."""
        loop = asyncio.get_running_loop()
        trouble = f": {self._trouble}" if self._trouble else ""
        while self._oldest and (self._oldest[0].result.done() or self._oldest[0].give_up_at <= loop.time()):
            asked = self._oldest.popleft()
            if not asked.result.done():
                asked.result.set_exception(Unavailable(f"no answer within {self._timeout_s:g} s{trouble}"))
        first = self._oldest[0].give_up_at if self._oldest else None
        self._giving_up = None if first is None else loop.call_at(first, self._give_up)

    def _fail(self, error: Exception) -> None:
        for asked in self._pending():
            asked.result.set_exception(error)

    def _pending(self) -> list[_Asked]:
        """Takes all that have no answer, in their order."""
        everything = [*itertools.chain.from_iterable(self._sent.values()), *self._waiting]
        self._sent.clear()
        self._waiting.clear()
        return [asked for asked in everything if not asked.result.done()]

    # -- the stream

    async def _run(self) -> None:
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            await self._until(lambda: bool(self._waiting))
            try:
                await self._one_stream(backoff)
                self._try_again(Unavailable("the limiter ended the stream"))
            except grpc.aio.AioRpcError as error:
                self._trouble = error.details() or error.code().name
                if error.code() in AGAIN:
                    self._try_again(from_call(error))
                else:
                    self._fail(from_call(error))
            except Exception as error:  # whatever it is: nobody may wait for a task that has died
                log.exception("the shared stream failed")
                self._fail(ServiceError(f"the client failed: {error!r}"))
            if self._waiting:
                await asyncio.sleep(backoff.next_s())

    def _try_again(self, error: Exception) -> None:
        """What was on its way goes first on the next stream, but for what has been tried often enough."""
        for asked in self._pending():
            if asked.tries >= TRIES:
                asked.result.set_exception(error)
            else:
                self._waiting.append(asked)

    async def _one_stream(self, backoff: Backoff) -> None:
        """Use one stream until it is old and everything is answered. Raises AioRpcError when it breaks."""
        call = self._open_stream()
        reading = asyncio.ensure_future(self._read(call, backoff))
        reading.add_done_callback(lambda _: self._changed.set())
        try:
            old_at = asyncio.get_running_loop().time() + STREAM_S
            while not reading.done():
                await self._until(lambda: reading.done() or self._may_follow())
                if not reading.done():
                    await self._write(call)
                    if asyncio.get_running_loop().time() >= old_at:
                        await call.done_writing()
                        break
            await reading
        finally:
            reading.cancel()
            call.cancel()

    @property
    def _under_way(self) -> int:
        """Requests that were sent and have no answer yet."""
        return sum(map(len, self._sent.values()))

    def _may_follow(self) -> bool:
        """Whether a message goes now. Large ones cost both sides least, so a few requests wait for company."""
        if not self._waiting or len(self._sent) >= UNDER_WAY:
            return False
        return len(self._waiting) >= FOLLOWS * self._under_way

    async def _write(self, call: Any) -> None:
        message = self._next()
        if message is not None:
            with suppress(asyncio.InvalidStateError):  # it has ended, and reading it says why
                await call.write(message)

    def _next(self) -> pb.ConsumeStreamRequest | None:
        batch: list[_Asked] = []
        size = self._size()
        while self._waiting and len(batch) < size:
            asked = self._waiting.popleft()
            if not asked.result.done():
                asked.tries += 1
                batch.append(asked)
        if not batch:
            return None
        number = next(self._ids)
        self._sent[number] = batch
        return pb.ConsumeStreamRequest(id=number, requests=[asked.request for asked in batch])

    def _size(self) -> int:
        """Of the next message, at most."""
        half = ceil((len(self._waiting) + self._under_way) / 2)
        share = ceil(len(self._waiting) / (UNDER_WAY - len(self._sent)))
        return min(max(share, min(max(half, LEAST), USUAL)), MESSAGE_MAX)

    async def _read(self, call: Any, backoff: Backoff) -> None:
        async for reply in call:
            backoff.reset()
            self._trouble = ""
            for asked, result in zip(self._sent.pop(reply.id, ()), reply.results, strict=False):
                if not asked.result.done():
                    asked.result.set_result(result)
            self._changed.set()

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            self._changed.clear()
            await self._changed.wait()
