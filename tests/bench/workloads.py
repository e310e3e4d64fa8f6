"""What load generators ask for: one class a kind of call. Channels are spread over the callers."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from typing import Any, Protocol

import grpc
from headworks.limiter.v1 import limiter_pb2, limiter_service_pb2
from headworks.limiter.v1.limiter_service_pb2_grpc import LimiterServiceStub
from headworks.scheduler.v1 import job_pb2
from headworks.scheduler.v1 import scheduler_service_pb2 as pb
from headworks.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub

USERS = 1_000
BATCH = 100
FINISH_S = 30.0
PAUSE_S = 0.02


class Workload(Protocol):
    """One kind of call."""

    items: int
    """What one call counts for."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None: ...

    async def call(self, number: int, intended_ns: int) -> None:
        """Make the call and wait for its answer; raises for an answer that is not the expected one."""
        ...

    async def finish(self) -> dict[str, Any]:
        """What else there is to say after all calls."""
        ...


class _Calls:
    items = 1

    async def finish(self) -> dict[str, Any]:
        """Nothing."""
        return {}


def permits(namespace: str = "bench") -> list[limiter_pb2.PermitRequest]:
    """What 1,000 users ask for, one permit each."""
    return [
        limiter_pb2.PermitRequest(namespace=namespace, descriptors={"user": f"user-{number}", "endpoint": "GET /x"})
        for number in range(USERS)
    ]


class Consume(_Calls):
    """Unary Consume."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._stubs: list[Any] = [LimiterServiceStub(channel) for channel in channels]
        self._requests = [limiter_service_pb2.ConsumeRequest(request=permit) for permit in permits()]

    async def call(self, number: int, intended_ns: int) -> None:
        """One decision."""
        reply = await self._stubs[number % len(self._stubs)].Consume(self._requests[number % USERS])
        if not reply.decision.allowed:
            raise ValueError("refused")


class ConsumeDenied(_Calls):
    """Unary Consume of a user whose limit is used up."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._stubs: list[Any] = [LimiterServiceStub(channel) for channel in channels]
        self._request = limiter_service_pb2.ConsumeRequest(request=permits("hot")[0])

    async def call(self, number: int, intended_ns: int) -> None:
        """One refusal; the very first may be a grant."""
        reply = await self._stubs[number % len(self._stubs)].Consume(self._request)
        if reply.decision.allowed and number > 1_000:
            raise ValueError("allowed")


def _batches(namespace: str = "bench") -> list[list[limiter_pb2.PermitRequest]]:
    asked = permits(namespace)
    return [[asked[(start + index) % USERS] for index in range(BATCH)] for start in range(0, USERS, 17)]


class ConsumeBatch(_Calls):
    """Unary calls of 100 requests."""

    items = BATCH

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._stubs: list[Any] = [LimiterServiceStub(channel) for channel in channels]
        self._requests = [limiter_service_pb2.ConsumeBatchRequest(requests=batch) for batch in _batches()]

    async def call(self, number: int, intended_ns: int) -> None:
        """100 decisions."""
        request = self._requests[number % len(self._requests)]
        reply = await self._stubs[number % len(self._stubs)].ConsumeBatch(request)
        if len(reply.results) != BATCH:
            raise ValueError(f"{len(reply.results)} results")


class ConsumeStream:
    """Messages of 100 requests; one stream a channel, shared by the callers."""

    items = BATCH
    namespace = "bench"

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        stubs: list[Any] = [LimiterServiceStub(channel) for channel in channels]
        self._streams = [stub.ConsumeStream() for stub in stubs]
        self._locks = [asyncio.Lock() for _ in stubs]
        self._batches = _batches(self.namespace)
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._readers = [asyncio.ensure_future(self._read(stream)) for stream in self._streams]

    async def call(self, number: int, intended_ns: int) -> None:
        """100 decisions."""
        at, this = number % len(self._streams), next(self._ids)
        answer = self._waiting[this] = asyncio.get_running_loop().create_future()
        batch = self._batches[number % len(self._batches)]
        async with self._locks[at]:
            await self._streams[at].write(limiter_service_pb2.ConsumeStreamRequest(id=this, requests=batch))
        if await answer != BATCH:
            raise ValueError("too few results")

    async def _read(self, stream: Any) -> None:
        try:
            async for reply in stream:
                self._waiting.pop(reply.id).set_result(len(reply.results))
        except grpc.aio.AioRpcError as error:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(error)

    async def finish(self) -> dict[str, Any]:
        """Half-close."""
        for stream in self._streams:
            await stream.done_writing()
        await asyncio.gather(*self._readers)
        return {}


class ConsumeStream3(ConsumeStream):
    """The same, where each request meets three rules of three algorithms."""

    namespace = "three"


def _submission(task: str, payload: bytes = b"{}", **fields: Any) -> pb.JobSubmission:
    return pb.JobSubmission(spec=job_pb2.JobSpec(task=task, payload=job_pb2.Payload(data=payload), **fields))


class Submit(_Calls):
    """Unary SubmitJob of a no-op."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._stubs: list[Any] = [SchedulerServiceStub(channel) for channel in channels]
        self._request = pb.SubmitJobRequest(job=_submission("bench.noop"))

    async def call(self, number: int, intended_ns: int) -> None:
        """One job."""
        reply = await self._stubs[number % len(self._stubs)].SubmitJob(self._request)
        if not reply.name:
            raise ValueError("no name")


class Submit20(_Calls):
    """SubmitJobs of 20 no-ops."""

    items = 20

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._stubs: list[Any] = [SchedulerServiceStub(channel) for channel in channels]
        self._request = pb.SubmitJobsRequest(jobs=[_submission("bench.noop")] * self.items)

    async def call(self, number: int, intended_ns: int) -> None:
        """20 jobs."""
        reply = await self._stubs[number % len(self._stubs)].SubmitJobs(self._request)
        if not all(result.name for result in reply.results):
            raise ValueError("refused")


class QueueOp(_Calls):
    """SubmitJob, GetJob and CancelJob by turns; a caller looks at and cancels what it has submitted."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._stubs: list[Any] = [SchedulerServiceStub(channel) for channel in channels]
        self._submit = pb.SubmitJobRequest(job=_submission("bench.noop"))
        self._names: asyncio.Queue[str] = asyncio.Queue()
        self._seen: asyncio.Queue[str] = asyncio.Queue()

    async def call(self, number: int, intended_ns: int) -> None:
        """One operation."""
        stub, turn = self._stubs[number % len(self._stubs)], number % 3
        if turn == 1 and not self._names.empty():
            name = self._names.get_nowait()
            if (await stub.GetJob(pb.GetJobRequest(name=name))).job.name != name:
                raise ValueError("another job")
            self._seen.put_nowait(name)
        elif turn == 2 and not self._seen.empty():
            await stub.CancelJob(pb.CancelJobRequest(name=self._seen.get_nowait()))
        else:
            self._names.put_nowait((await stub.SubmitJob(self._submit)).name)


class Pickup(_Calls):
    """SubmitJob of a job that says how long after its intended submit it began; `finish` has its percentiles."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._stubs: list[Any] = [SchedulerServiceStub(channel) for channel in channels]
        self._names: list[tuple[int, str]] = []

    async def call(self, number: int, intended_ns: int) -> None:
        """One job."""
        payload = json.dumps({"intended_ns": intended_ns}).encode()
        request = pb.SubmitJobRequest(job=_submission("bench.pickup", payload))
        reply = await self._stubs[number % len(self._stubs)].SubmitJob(request)
        self._names.append((intended_ns, reply.name))

    async def finish(self) -> dict[str, Any]:
        """Read the results, once nothing is measured any more."""
        self._names.sort()
        async with asyncio.timeout(FINISH_S):
            waits = [await self._wait_ms(name) for _, name in self._names]
        return {"pickups_ms": waits}

    async def _wait_ms(self, name: str) -> float:
        while True:
            job = (await self._stubs[0].GetJob(pb.GetJobRequest(name=name))).job
            if job.state == job_pb2.JOB_STATE_SUCCEEDED:
                return int(json.loads(job.result.data)) / 1e6
            await asyncio.sleep(PAUSE_S)


WORKLOADS: dict[str, type[Workload]] = {
    "consume": Consume,
    "consume_batch": ConsumeBatch,
    "consume_denied": ConsumeDenied,
    "consume_stream": ConsumeStream,
    "consume_stream_3": ConsumeStream3,
    "submit": Submit,
    "submit_20": Submit20,
    "queue_op": QueueOp,
    "pickup": Pickup,
}
