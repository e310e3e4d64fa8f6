"""A worker that speaks the session protocol one message at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import grpc
from headworks.scheduler.v1 import job_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks.worker.v1.worker_service_pb2_grpc import WorkerServiceStub

WAIT_S = 10.0


class RawWorker:
    """One session, driven by hand."""

    def __init__(self, call: grpc.aio.StreamStreamCall[pb.SessionRequest, pb.SessionResponse]) -> None:
        self.call = call
        self._batch = 0
        self._early: list[pb.SessionResponse] = []
        self._held: list[pb.Assignment] = []

    async def send(self, **message: object) -> None:
        """Write one message, e.g. `credit=pb.Credit(slots=1)`."""
        await self.call.write(pb.SessionRequest(**message))  # type: ignore[arg-type]

    async def attach(
        self,
        *,
        worker: str = "w1",
        queues: Sequence[tuple[str, int]] = (("default", 1),),
        slots: int = 10,
        credit: int = 0,
        held: Sequence[pb.HeldLease] = (),
        order: pb.QueueOrder = pb.QUEUE_ORDER_UNSPECIFIED,
        tasks: Sequence[str] = (),
    ) -> pb.Attached:
        """Attach, and announce `credit` free slots."""
        subscriptions = [pb.QueueSubscription(queue=name, weight=weight) for name, weight in queues]
        attach = pb.Attach(
            protocol=1, worker=worker, queues=subscriptions, slots=slots, held=held, order=order, tasks=tasks
        )
        await self.send(attach=attach)
        attached = (await self.next("attached")).attached
        if credit:
            await self.send(credit=pb.Credit(slots=credit))
        return attached

    async def next(self, kind: str) -> pb.SessionResponse:
        """The next message of this kind; pings are passed over, others are kept for later."""
        for message in self._early:
            if message.WhichOneof("message") == kind:
                self._early.remove(message)
                return message
        async with asyncio.timeout(WAIT_S):
            while True:
                heard: object = await self.call.read()
                assert isinstance(heard, pb.SessionResponse), f"the session ended while waiting for {kind}"
                message = heard
                if message.WhichOneof("message") == kind:
                    return message
                if message.WhichOneof("message") != "ping":
                    self._early.append(message)

    async def jobs(self, count: int) -> list[pb.Assignment]:
        """The next `count` jobs, however they are batched."""
        jobs: list[pb.Assignment] = []
        while len(jobs) < count:
            jobs += (more := (await self.next("assign")).assign.jobs)
            self._held += more
        assert len(jobs) == count
        return jobs

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """A heartbeat each second, of all jobs that came, while the block only reads."""

        async def beat() -> None:
            while True:
                await self.beat(*self._held)
                await asyncio.sleep(1)

        task = asyncio.ensure_future(beat())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def beat(self, *jobs: pb.Assignment, progress: job_pb2.Progress | None = None) -> None:
        """A heartbeat that lists these jobs."""
        held = [pb.HeldLease(job=job.job, lease_id=job.lease_id, progress=progress) for job in jobs]
        await self.send(heartbeat=pb.Heartbeat(held=held))

    async def finish(
        self, *jobs: pb.Assignment, credit: int = 0, outcome: Callable[[], dict[str, object]] | None = None
    ) -> pb.Ack:
        """Send results (by default successes) and wait for their Ack."""
        self._batch += 1
        make = outcome or (lambda: {"success": pb.Success(result=job_pb2.Payload(data=b"null"))})
        self._held = [job for job in self._held if job not in jobs]
        results = [pb.Result(job=job.job, lease_id=job.lease_id, **make()) for job in jobs]  # type: ignore[arg-type]
        await self.send(results=pb.Results(batch=self._batch, results=results, credit=credit))
        ack = (await self.next("ack")).ack
        assert ack.batch == self._batch
        return ack

    async def ended(self) -> grpc.StatusCode:
        """Wait until the server ends the session; its status."""
        async with asyncio.timeout(WAIT_S):
            while await self._read_on():
                pass
            return await self.call.code()

    async def _read_on(self) -> bool:
        try:
            return await self.call.read() is not grpc.aio.EOF
        except grpc.aio.AioRpcError:
            return False

    async def leave(self) -> None:
        """Half-close and wait for the end."""
        await self.call.done_writing()
        await self.ended()


@asynccontextmanager
async def raw_worker(port: int) -> AsyncIterator[RawWorker]:
    """A session with the scheduler's worker port, not yet attached."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = WorkerServiceStub(channel).Session()
        try:
            yield RawWorker(call)
        finally:
            call.cancel()


def failed(
    category: job_pb2.FailureCategory = job_pb2.FAILURE_CATEGORY_TRANSIENT, error_class: str = "ValueError"
) -> dict[str, object]:
    """The outcome of a failed attempt."""
    failure = job_pb2.Failure(error_class=error_class, message="no", trace="Traceback", category=category)
    return {"failed": pb.Failed(failure=failure)}


def released(delay_s: int = 0) -> dict[str, object]:
    """The outcome of a job that is given back."""
    release = pb.Released(reason="draining")
    release.delay.FromSeconds(delay_s)
    return {"released": release}
