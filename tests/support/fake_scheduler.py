"""A scheduler for tests of workers: speaks the session protocol over a real socket, and does only what it is told.

It checks what every scheduler checks: the first message is Attach, a result has an outcome, and credit never exceeds
the worker's slots. What breaks a rule is in `violations`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks.worker.v1.worker_service_pb2_grpc import WorkerServiceServicer, add_WorkerServiceServicer_to_server
from headworks_client.durations import to_duration
from headworks_core.names import uuid7

WAIT_S = 30.0
Rpc = grpc.aio.ServicerContext[pb.SessionRequest, pb.SessionResponse]


class FakeSession:
    """One session of a worker, seen from the scheduler."""

    def __init__(self, scheduler: FakeScheduler, rpc: Rpc, attach: pb.Attach) -> None:
        self._scheduler = scheduler
        self._rpc = rpc
        self._writing = asyncio.Lock()
        self._arrived: defaultdict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)
        self._cut: asyncio.Future[grpc.StatusCode | None] = asyncio.get_running_loop().create_future()
        self.attach = attach
        self.credit = 0
        """Announced and not used."""
        self.out = {(lease.job, lease.lease_id) for lease in attach.held}
        """Leases that the worker has."""
        self.beats: list[tuple[float, list[tuple[str, int]]]] = []
        """Each heartbeat: when it came, on the monotonic clock, and the leases that it listed."""
        self.progress: list[tuple[str, job_pb2.Progress]] = []
        self._unacked: dict[int, pb.Results] = {}
        self.draining = False
        """The worker has said so."""
        self.ended = asyncio.Event()
        """The worker has half-closed or gone."""

    # -- what the worker says

    async def next(self, kind: str) -> Any:
        """The next message of this kind that nobody has taken yet."""
        async with asyncio.timeout(WAIT_S):
            return await self._arrived[kind].get()

    async def results(self) -> pb.Results:
        """The next batch of results."""
        results: pb.Results = await self.next("results")
        return results

    async def all_results(self, count: int) -> list[pb.Result]:
        """The next `count` results, however they are batched; acknowledged unless the worker has gone."""
        ended: list[pb.Result] = []
        while len(ended) < count:
            results = await self.results()
            ended += results.results
            if not self.ended.is_set():
                await self.ack(results)
        assert len(ended) == count
        return ended

    async def result(self) -> pb.Result:
        """The only result of the next batch, acknowledged."""
        results = await self.results()
        await self.ack(results)
        (result,) = results.results
        return result

    async def credited(self, slots: int) -> None:
        """Wait until so many free slots are announced."""
        async with asyncio.timeout(WAIT_S):
            while self.credit != slots:
                await self._scheduler.heard()

    async def told(self, done: int) -> job_pb2.Progress:
        """Wait for progress that has come so far."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for _, progress in self.progress:
                    if progress.done == done:
                        return progress
                await self._scheduler.heard()

    async def listed(self, assignment: pb.Assignment) -> None:
        """Wait for a heartbeat that lists this job."""
        key = (assignment.job, assignment.lease_id)
        async with asyncio.timeout(WAIT_S):
            while not any(key in keys for _, keys in self.beats):
                await self._scheduler.heard()

    async def wait_ended(self) -> None:
        """Wait until the worker has left."""
        async with asyncio.timeout(WAIT_S):
            await self.ended.wait()

    # -- what the scheduler says

    async def send(self, **message: Any) -> None:
        """Write one message, e.g. `drain=pb.Drain()`."""
        async with self._writing:
            await self._rpc.write(pb.SessionResponse(**message))

    async def assign(
        self,
        task: str,
        payload: bytes = b"",
        *,
        count: int = 1,
        attempt: int = 1,
        timeout_s: float | None = None,
        traceparent: str = "",
        **spec: Any,
    ) -> list[pb.Assignment]:
        """Hand out new jobs, once there is credit for them."""
        async with asyncio.timeout(WAIT_S):
            while self.credit < count:
                await self._scheduler.heard()
        made = job_pb2.JobSpec(task=task, payload=job_pb2.Payload(data=payload), **spec)
        timeout: Duration | None = None if timeout_s is None else to_duration(timeout_s)
        jobs = [
            pb.Assignment(
                job=f"tenants/default/queues/default/jobs/0-{uuid7()}",
                lease_id=next(self._scheduler.lease_ids),
                attempt=attempt,
                spec=made.SerializeToString(),
                traceparent=traceparent,
                attempt_timeout=timeout,
            )
            for _ in range(count)
        ]
        await self.assign_these(jobs)
        return jobs

    async def assign_these(self, jobs: Sequence[pb.Assignment]) -> None:
        """Hand out jobs as they are."""
        self.credit -= len(jobs)
        self.out |= {(job.job, job.lease_id) for job in jobs}
        await self.send(assign=pb.Assign(jobs=jobs))

    async def ack(self, results: pb.Results, *, lost: Iterable[int] = ()) -> None:
        """Acknowledge a batch."""
        self._unacked.pop(results.batch, None)
        await self.send(ack=pb.Ack(batch=results.batch, lost=lost))

    async def take_leases(self, *jobs: pb.Assignment) -> None:
        """Tell the worker that these are no longer its own."""
        self.out -= {(job.job, job.lease_id) for job in jobs}
        await self.send(lease_lost=pb.LeaseLost(leases=refs(jobs)))

    def cut(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        """End the stream with an error."""
        self._cut.set_result(code)

    def close(self) -> None:
        """End the stream in order."""
        self._cut.set_result(None)

    # -- the stream

    async def serve(self) -> None:
        """Read until either side ends the stream."""
        reading = asyncio.ensure_future(self._read())
        pinging = asyncio.ensure_future(self._ping())
        try:
            either: set[asyncio.Future[Any]] = {reading, self._cut}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._cut.done() and (code := self._cut.result()) is not None:
                await self._rpc.abort(code, "cut by the test")
        finally:
            self.ended.set()
            reading.cancel()
            pinging.cancel()
            await asyncio.wait({reading, pinging})

    async def _read(self) -> None:
        while isinstance(message := await self._rpc.read(), pb.SessionRequest):
            kind = message.WhichOneof("message") or "nothing"
            self._take(kind, message)
            if self.draining and self._scheduler.acks_when_draining:
                for results in list(self._unacked.values()):
                    await self.ack(results)
            self._arrived[kind].put_nowait(getattr(message, kind))
            self._scheduler.notice()

    def _take(self, kind: str, message: pb.SessionRequest) -> None:
        if kind == "heartbeat":
            held = message.heartbeat.held
            self.beats.append((time.monotonic(), [(lease.job, lease.lease_id) for lease in held]))
            self.progress += [(lease.job, lease.progress) for lease in held if lease.HasField("progress")]
        elif kind == "draining":
            self.draining = True
        elif kind == "results":
            self._unacked[message.results.batch] = message.results
            for result in message.results.results:
                self.out.discard((result.job, result.lease_id))
                if result.WhichOneof("outcome") is None:
                    self._scheduler.violations.append(f"{result.job} has no outcome")
            self._announce(message.results.credit)
        elif kind == "credit":
            self._announce(message.credit.slots)

    def _announce(self, slots: int) -> None:
        self.credit += slots
        if self.credit + len(self.out) > self.attach.slots:
            self._scheduler.violations.append(
                f"credit {self.credit} and {len(self.out)} jobs out are more than {self.attach.slots} slots"
            )

    async def _ping(self) -> None:
        while self._scheduler.ping_s:
            await self.send(ping=pb.Ping())
            await asyncio.sleep(self._scheduler.ping_s)


class FakeScheduler(WorkerServiceServicer):
    """The worker port of one replica."""

    def __init__(self, *, heartbeat_s: float = 0.4, lease_s: float = 1.2, ping_s: float = 0.2) -> None:
        """With `ping_s` = 0 it never pings, but promises to do so every 0.2 s."""
        self.heartbeat_s = heartbeat_s
        self.lease_s = lease_s
        self.ping_s = ping_s
        self.lost: list[tuple[str, int]] = []
        """Leases that the next Attached says are lost."""
        self.refuses = False
        """Whether it takes no sessions, as a replica that is going away."""
        self.answers = True
        """Whether Attach is answered."""
        self.acks_when_draining = True
        """Whether results are acknowledged by themselves once the worker drains."""
        self.violations: list[str] = []
        self.lease_ids = itertools.count(1)
        self.port = 0
        self._sessions: asyncio.Queue[FakeSession] = asyncio.Queue()
        self._heard = asyncio.Event()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def session(self) -> FakeSession:
        """The next session that a worker has opened."""
        async with asyncio.timeout(WAIT_S):
            return await self._sessions.get()

    def notice(self) -> None:
        """A message has come."""
        self._heard.set()

    async def heard(self) -> None:
        """Wait for the next message of any session."""
        self._heard.clear()
        await self._heard.wait()

    async def Session(self, request_iterator: object, context: Any) -> None:  # type: ignore[override]
        """See the proto."""
        first = await context.read()
        if first is grpc.aio.EOF or first.WhichOneof("message") != "attach":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the first message must be Attach")
        if self.refuses:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this replica is going away")
        session = FakeSession(self, context, first.attach)
        if self.answers:
            lost = [pb.LeaseRef(job=job, lease_id=lease_id) for job, lease_id in self.lost]
            session.out -= set(self.lost)
            attached = pb.Attached(
                replica=f"fake-{self.port}",
                heartbeat_interval=to_duration(self.heartbeat_s),
                lease=to_duration(self.lease_s),
                ping_interval=to_duration(self.ping_s or 0.2),
                lost=lost,
            )
            await session.send(attached=attached)
        self._sessions.put_nowait(session)
        await session.serve()


def refs(jobs: Iterable[pb.Assignment]) -> list[pb.LeaseRef]:
    """The leases of these jobs."""
    return [pb.LeaseRef(job=job.job, lease_id=job.lease_id) for job in jobs]


async def outcome(session: FakeSession, name: str, payload: bytes = b"", **options: Any) -> pb.Result:
    """Run one job."""
    await session.assign(name, payload, **options)
    return await session.result()


@asynccontextmanager
async def fake_scheduler(**times: float) -> AsyncIterator[FakeScheduler]:
    """A fake scheduler that listens; at the end it must have seen no violation."""
    fake = FakeScheduler(**times)
    server = grpc.aio.server()
    add_WorkerServiceServicer_to_server(fake, server)
    fake.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(None)
    assert fake.violations == []
