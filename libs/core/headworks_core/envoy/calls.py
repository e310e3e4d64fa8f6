"""A call that came over HTTP, with the face that `grpc.aio` shows to handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

import grpc

from headworks_core import grpc_errors
from headworks_core.errors import ServiceError

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Metadata = Iterable[tuple[str, str | bytes]]

OF_THE_TRANSPORT = frozenset(
    {
        *(b"content-type", b"content-length", b"content-encoding", b"te", b"user-agent", b"host", b"accept"),
        *(b"accept-encoding", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"),
        *(b"connect-timeout-ms", b"connect-protocol-version"),
    }
)


class Head:
    """A request's headers: those that the protocols read by name, the rest as the call's metadata."""

    __slots__ = ("known", "metadata")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        known: dict[bytes, bytes] = {}
        metadata: list[tuple[str, str | bytes]] = []
        for name, value in headers:
            if name in OF_THE_TRANSPORT:
                known[name] = value
            else:
                metadata.append((name.decode("latin-1"), value.decode("latin-1")))
        self.known = known
        self.metadata = metadata

    @property
    def content_type(self) -> bytes:
        """Without parameters, in lower case."""
        return self.known.get(b"content-type", b"").partition(b";")[0].strip().lower()


class Call:
    """What a handler is told of a call, and how it ended."""

    def __init__(self, metadata: Metadata, remaining_s: float | None) -> None:
        """`remaining_s` until its caller gives up; None: never."""
        self._metadata = metadata
        self._loop = asyncio.get_running_loop()
        self._deadline = None if remaining_s is None else self._loop.time() + remaining_s
        self.status = grpc.StatusCode.OK
        self.message = ""
        self.trailing: Metadata = ()

    def invocation_metadata(self) -> Metadata:
        """What the caller sent beside its message."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Seconds until its caller gives up; None: it does not say."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """What the caller gets after the message, or in place of one."""
        self.trailing = metadata

    def code(self) -> int:
        """The number of the status that it ended with."""
        number: int = self.status.value[0]
        return number

    def end(self, status: grpc.StatusCode, message: str = "") -> None:
        """Decide how it ends."""
        self.status, self.message = status, message

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call; raises what `_fail` of headworks_core.serving lets through."""
        self.end(code, details)
        if trailing_metadata:
            self.trailing = trailing_metadata
        raise grpc.aio.AbortError(details)

    async def fail(self, error: ServiceError) -> None:
        """End the call with the error's rich status."""
        with suppress(grpc.aio.AbortError):
            await grpc_errors.abort(self, error)  # type: ignore[arg-type]  # the part of its face that abort uses


class Watch:
    """Cancels the task that serves a call once its deadline has passed, or soon after its caller has gone."""

    GONE_AFTER_S = 1.0
    """Calls that are done sooner are not worth asking whether somebody still waits."""
    WATCHED_MAX = 1_000
    """Asking doubles what a call costs: an overload in which each call takes long must not grow by it."""
    watched = 0
    """Calls whose callers are being watched."""

    __slots__ = ("_deadline", "_loop", "_receive", "_task", "_timer", "_watcher", "expired", "gone")

    def __init__(self, receive: Receive | None, remaining_s: float | None) -> None:
        """`receive` says when the caller goes, once its message has been read; None: whoever reads on will hear."""
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._deadline = None if remaining_s is None else self._loop.time() + remaining_s
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        first_s = self.GONE_AFTER_S if remaining_s is None else min(self.GONE_AFTER_S, remaining_s)
        self._timer = self._loop.call_later(first_s, self._due)
        self.expired = False
        self.gone = False

    def _due(self) -> None:
        if self._deadline is not None and self._loop.time() >= self._deadline:
            self.expired = True
            self._cancel()
            return
        if self._watcher is None and self._receive is not None and Watch.watched < self.WATCHED_MAX:
            Watch.watched += 1
            self._watcher = self._loop.create_task(self._leaving(self._receive))
        if self._deadline is not None:
            self._timer = self._loop.call_at(self._deadline, self._due)

    async def _leaving(self, receive: Receive) -> None:
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            Watch.watched -= 1
        self.left()

    def left(self) -> None:
        """The caller has gone."""
        if self._task is not None and not self.expired:
            self.gone = True
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        """The call has been answered. A watcher stays until its stream ends, which is soon."""
        self._timer.cancel()
        self._task = None

    def caught(self) -> bool:
        """Whether a cancellation that has just been caught was ours."""
        if not (self.expired or self.gone):
            return False
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        return True
