"""Following many jobs over few streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress

import grpc
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks_core.errors import InvalidArgument, NotFound, ServiceError, Unavailable
from headworks_core.grpc_errors import from_call

from headworks_client.backoff import Backoff

NAMES_MAX = 500  # of one WatchJobs call
WINDOW_S = 0.002  # that requests are gathered for; longer while many streams are open
WINDOW_MAX_S = 0.1
TERMINAL = frozenset({job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_DEAD, job_pb2.JOB_STATE_CANCELLED})
CUT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""How a stream ends that is to be opened again."""

WatchCall = grpc.aio.UnaryStreamCall[pb.WatchJobsRequest, pb.WatchJobsResponse]
OpenStream = Callable[[pb.WatchJobsRequest], WatchCall]


async def follow(
    open_stream: OpenStream, names: Iterable[str], *, terminal_only: bool
) -> AsyncGenerator[job_pb2.Job, None]:
    """Jobs of at most 500 names as they change, until all have ended.

    A stream that was cut is opened again for those that have not ended. Close the iterator when leaving it early.
    """
    left = dict.fromkeys(names)
    backoff = Backoff(0.05, 5.0)
    while left:
        call = open_stream(pb.WatchJobsRequest(names=left, terminal_only=terminal_only))
        try:
            async for reply in call:
                backoff.reset()
                for job in reply.jobs:
                    if job.state in TERMINAL:
                        left.pop(job.name, None)
                    yield job
        except grpc.aio.AioRpcError as error:
            if error.code() not in CUT:
                raise from_call(error) from None
        finally:
            call.cancel()
        if left:
            await asyncio.sleep(backoff.next_s())


async def follow_all(
    open_stream: OpenStream, names: Sequence[str], *, terminal_only: bool
) -> AsyncGenerator[job_pb2.Job, None]:
    """`follow` for any number of names; streams are read only as fast as their reader goes on."""
    queue: asyncio.Queue[job_pb2.Job | None] = asyncio.Queue(NAMES_MAX)

    async def pump(group: Sequence[str]) -> None:
        async with aclosing(follow(open_stream, group, terminal_only=terminal_only)) as jobs:
            async for job in jobs:
                await queue.put(job)

    async def pump_all() -> None:
        try:
            async with asyncio.TaskGroup() as pumps:
                for at in range(0, len(names), NAMES_MAX):
                    pumps.create_task(pump(names[at : at + NAMES_MAX]))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            with suppress(asyncio.QueueFull):
                queue.put_nowait(None)

    pumping = asyncio.create_task(pump_all())
    try:
        while not (pumping.done() and queue.empty()):
            job = await queue.get()
            if job is None:
                break
            yield job
        await pumping
    finally:
        pumping.cancel()
        with suppress(asyncio.CancelledError, ServiceError):
            await pumping


class _Group:
    """The names that one stream follows, each with those who wait for it."""

    def __init__(self) -> None:
        self.waiting: dict[str, set[asyncio.Future[job_pb2.Job]]] = {}
        self.task: asyncio.Task[None] | None = None


class Watcher:
    """Tells when jobs have ended: requests that come within a few milliseconds share one stream.

    A name that nobody waits for any more is left alone; a stream without names is cancelled.
    """

    def __init__(self, open_stream: OpenStream) -> None:
        self._open_stream = open_stream
        self._groups: dict[str, _Group] = {}
        """Of each name that is followed or about to be."""
        self._gathering: _Group | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    async def outcome(self, name: str) -> job_pb2.Job:
        """The job once it has ended. Raises ServiceError, and Unavailable when the watcher is closed."""
        if self._closed:
            raise Unavailable("the client is closed")
        future: asyncio.Future[job_pb2.Job] = asyncio.get_running_loop().create_future()
        group = self._groups.get(name)
        if group is None:
            group = self._gathered()
            self._groups[name] = group
            group.waiting[name] = set()
        group.waiting[name].add(future)
        try:
            return await future
        finally:
            self._leave(name, future)

    async def close(self) -> None:
        """Whoever still waits gets Unavailable."""
        self._closed = True
        for group in set(self._groups.values()):
            self._fail(group, list(group.waiting), Unavailable("the client was closed"))
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _gathered(self) -> _Group:
        if self._gathering is None:
            self._gathering = _Group()
            window_s = min(WINDOW_S * (1 + len(self._running)), WINDOW_MAX_S)
            asyncio.get_running_loop().call_later(window_s, self._launch, self._gathering)
        group = self._gathering
        if len(group.waiting) == NAMES_MAX - 1:
            self._gathering = None  # this name fills it
        return group

    def _launch(self, group: _Group) -> None:
        if self._gathering is group:
            self._gathering = None
        if group.waiting:
            group.task = asyncio.create_task(self._watch(group))
            self._running.add(group.task)
            group.task.add_done_callback(self._running.discard)

    async def _watch(self, group: _Group) -> None:
        try:
            async with aclosing(follow(self._open_stream, list(group.waiting), terminal_only=True)) as jobs:
                async for job in jobs:
                    self._settle(group, job)
                    if not group.waiting:  # what is left was given up
                        return
        except (NotFound, InvalidArgument) as error:  # of one name, and the status does not say which
            if len(group.waiting) > 1:
                self._halve(group)
            else:
                self._fail(group, list(group.waiting), error)
        except ServiceError as error:
            self._fail(group, list(group.waiting), error)

    def _settle(self, group: _Group, job: job_pb2.Job) -> None:
        self._groups.pop(job.name, None)
        for future in group.waiting.pop(job.name, ()):
            if not future.done():
                future.set_result(job)

    def _fail(self, group: _Group, names: Sequence[str], error: ServiceError) -> None:
        for name in names:
            self._groups.pop(name, None)
            for future in group.waiting.pop(name):
                if not future.done():
                    future.set_exception(error)

    def _halve(self, group: _Group) -> None:
        names = list(group.waiting)
        middle = len(names) // 2
        for half in (names[:middle], names[middle:]):
            part = _Group()
            part.waiting = {name: group.waiting[name] for name in half}
            self._groups.update(dict.fromkeys(half, part))
            self._launch(part)

    def _leave(self, name: str, future: asyncio.Future[job_pb2.Job]) -> None:
        group = self._groups.get(name)
        if group is None or future not in group.waiting.get(name, ()):
            return
        group.waiting[name].discard(future)
        if not group.waiting[name]:
            del group.waiting[name], self._groups[name]
        if not group.waiting and group.task is not None:
            group.task.cancel()
