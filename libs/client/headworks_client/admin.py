"""The operators' client: how are the queues and the workers?"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from headworks.scheduler.v1 import admin_service_pb2 as pb
from headworks.scheduler.v1.admin_service_pb2_grpc import AdminServiceStub

from headworks_client.channel import Connection
from headworks_client.overview import QueueSnapshot, WorkerSnapshot

_SERVICE = "headworks.scheduler.v1.AdminService"


class AdminCalls:
    """The calls, for the asyncio client and for the blocking one. Nothing but the connection's `call` is awaited."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(self) -> None:
        """Make it usable."""
        self._stub = AdminServiceStub(self._connection.open())

    async def queues(self) -> list[QueueSnapshot]:
        """All queues, by id."""
        request = pb.ListQueuesRequest()
        reply = await self._connection.call(self._stub.ListQueues, f"{_SERVICE}/ListQueues", request)
        return [QueueSnapshot.from_proto(queue) for queue in reply.queues]

    async def queue(self, queue: str) -> QueueSnapshot:
        """One queue by its id; NotFound."""
        request = pb.GetQueueRequest(queue=queue)
        reply = await self._connection.call(self._stub.GetQueue, f"{_SERVICE}/GetQueue", request)
        return QueueSnapshot.from_proto(reply.queue)

    async def workers(self, queue: str = "", *, live_only: bool = False) -> list[WorkerSnapshot]:
        """Workers of one queue or of all, by id, those that left within the last hour too unless `live_only`.

        NotFound for the queue.
        """
        request = pb.ListWorkersRequest(queue=queue, live_only=live_only)
        reply = await self._connection.call(self._stub.ListWorkers, f"{_SERVICE}/ListWorkers", request)
        return [WorkerSnapshot.from_proto(worker) for worker in reply.workers]


class AdminClient(AdminCalls):
    """Reads statistics of queues and the list of workers from a scheduler. Use it as an async context manager.

    Every method raises the kinds of `headworks_core.errors`.
    """

    def __init__(self, target: str, *, tenant: str = "default", timeout_s: float = 5.0) -> None:
        super().__init__(Connection(target, tenant=tenant, timeout_s=timeout_s))

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()
