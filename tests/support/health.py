"""What a service says of its readiness."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from headworks_core.serving import READINESS


async def is_ready(target: str) -> bool:
    """Whether the service answers that callers may be sent to it; it must answer."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its methods are typed nowhere
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=READINESS), timeout=5)
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
