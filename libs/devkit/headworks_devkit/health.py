"""Asking a service for its health, as probes do."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from headworks_core.serving import READINESS

from headworks_devkit.processes import Child
from headworks_devkit.waiting import wait_until

_IMPATIENT = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
)


async def wait_serving(process: Child, target: str, timeout_s: float = 20.0) -> None:
    """Wait until the service at `target` says that it is ready.

    Raises ChildFailed when its process ends before that, or stays not ready for `timeout_s` seconds.
    """
    async with grpc.aio.insecure_channel(target, options=_IMPATIENT) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its methods are typed nowhere

        async def answered() -> bool:
            return not process.running or await _serving(stub)

        try:
            await wait_until(answered, timeout_s, what=f"{process.name} to be ready", period_s=0.02)
        except TimeoutError as error:
            raise process.failed(f"was not ready within {timeout_s} s") from error
    if not process.running:
        raise process.failed(f"ended with {await process.wait()} before it was ready")


async def _serving(stub: Any) -> bool:
    try:
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=READINESS), timeout=1.0)
    except grpc.aio.AioRpcError:
        return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
