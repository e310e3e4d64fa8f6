"""A streaming call over HTTP/2: messages are read and written one by one."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import grpc

from headworks_core.envoy import framing
from headworks_core.envoy.bodies import CallerGone, too_large
from headworks_core.envoy.calls import Call, Head, Receive, Send, Watch
from headworks_core.envoy.methods import Method
from headworks_core.errors import InvalidArgument, ServiceError


class _Body:
    """The bytes of a request as they come. At most one part waits, so that a slow reader slows its caller."""

    def __init__(self, receive: Receive, gone: Watch) -> None:
        self._receive = receive
        self._watch = gone
        self._data = bytearray()
        self._more = True
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        # Nobody may cancel `receive` itself: its server would answer into a future that is done.
        self._pump = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                self._watch.left()
                return
            self._data += event.get("body", b"")
            self._more = self._more and event.get("more_body", False)
            self._changed.set()
            if self._more:
                await self._wanted.wait()
                self._wanted.clear()

    async def take(self, size: int) -> bytes | None:
        """The next `size` bytes; None at the end. Raises CallerGone for an end in between."""
        while len(self._data) < size:
            if not self._more:
                if self._data:
                    raise CallerGone
                return None
            self._changed.clear()
            self._wanted.set()
            await self._changed.wait()
        found = bytes(self._data[:size])
        del self._data[:size]
        return found

    def end(self) -> None:
        """Nothing more is read, but for the end."""
        self._more = False
        self._wanted.set()


class StreamCall(Call):
    """A call with many messages, with the face that `grpc.aio` shows."""

    def __init__(
        self, method: Method, head: Head, body: _Body, send: Send, limit: int, remaining: float | None
    ) -> None:
        super().__init__(head.metadata, remaining)
        self._method, self._head, self._body, self._send, self._limit = method, head, body, send, limit
        self.begun = False

    async def read(self) -> Any:
        """The next message, or grpc.aio.EOF. Ends the call for one that is too large or is none."""
        try:
            prefix = await self._body.take(framing.PREFIX)
            if prefix is None:
                return grpc.aio.EOF
            packed, size = struct.unpack(">BI", prefix)
            if size > self._limit:
                raise too_large(self._limit)
            data = await self._body.take(size) if size else b""
            if data is None:
                raise CallerGone
            return self._method.parse(framing.message_of(self._head, packed, data, self._limit))
        except CallerGone:
            raise InvalidArgument("the stream ends within a message") from None

    async def write(self, message: Any) -> None:
        """One more reply."""
        data = self._method.serialize(message)
        if not self.begun:
            self.begun = True
            await framing.begin(self._send)
        await framing.write(self._send, data)


async def serve_stream(method: Method, head: Head, receive: Receive, send: Send, limit: int) -> None:
    """Answer one streaming call."""
    try:
        remaining = framing.timeout_s(head)
    except InvalidArgument as error:
        refused = Call(head.metadata, None)
        await refused.fail(error)
        await framing.fail(send, refused)
        return
    watch = Watch(None, remaining)
    body = _Body(receive, watch)
    call = StreamCall(method, head, body, send, limit, remaining)
    try:
        await method.handle(None if method.bidirectional else await call.read(), call)
    except grpc.aio.AbortError:
        pass
    except ServiceError as error:
        await call.fail(error)
    except asyncio.CancelledError:
        if not watch.caught():
            raise
        if watch.gone:
            return
        call.end(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")
    finally:
        watch.end()
        body.end()
    await (framing.end if call.begun else framing.fail)(send, call)
