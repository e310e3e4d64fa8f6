"""Envoy's calls of a running limiter, made without Envoy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import UInt64Value
from headworks.limiter.envoy.v1 import rate_limit_pb2 as pb
from headworks_limiter.app import limiter_app
from headworks_limiter.settings import Settings

from tests.integration.limiter.serving import PATIENT_MS

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
OK, OVER = pb.CODE_OK, pb.CODE_OVER_LIMIT
UNITS: Any = pb.Unit


def descriptor(*pairs: tuple[str, str], hits: int | None = None, negative: bool = False, **limit: Any) -> pb.Descriptor:
    """Its entries in order; `limit` is an override."""
    made = pb.Descriptor(entries=[pb.Entry(key=key, value=value) for key, value in pairs], is_negative_hits=negative)
    if hits is not None:
        made.hits_addend.CopyFrom(UInt64Value(value=hits))
    if limit:
        made.limit.CopyFrom(pb.LimitOverride(**limit))
    return made


def user(name: str, **said: Any) -> pb.Descriptor:
    """A descriptor with one entry."""
    return descriptor(("user", name), **said)


class Envoy:
    """Asks as Envoy does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._call: Any = channel.unary_unary(
            METHOD,
            request_serializer=pb.ShouldRateLimitRequest.SerializeToString,
            response_deserializer=pb.ShouldRateLimitResponse.FromString,
        )

    async def ask(
        self, *descriptors: pb.Descriptor, domain: str = "d", hits: int = 0, tenant: str = ""
    ) -> pb.ShouldRateLimitResponse:
        """The reply. Raises AioRpcError."""
        return await self.send(
            pb.ShouldRateLimitRequest(domain=domain, descriptors=descriptors, hits_addend=hits), tenant=tenant
        )

    async def send(self, request: pb.ShouldRateLimitRequest, *, tenant: str = "") -> pb.ShouldRateLimitResponse:
        """The reply to any request. Raises AioRpcError."""
        metadata = (("headworks-tenant", tenant),) if tenant else ()
        reply: pb.ShouldRateLimitResponse = await self._call(request, timeout=60, metadata=metadata)
        return reply

    async def codes(self, *descriptors: pb.Descriptor, **said: Any) -> list[int]:
        """The overall code, then that of every descriptor."""
        reply = await self.ask(*descriptors, **said)
        return [reply.overall_code, *(status.code for status in reply.statuses)]


@asynccontextmanager
async def serving(redis_url: str, rules: str | Path, **settings: Any) -> AsyncIterator[Envoy]:
    """A limiter with Envoy's rules, while the block runs."""
    told: dict[str, Any] = {"redis_timeout_ms": PATIENT_MS, "shutdown_grace_s": 1.0, **settings}
    chosen = Settings(**{"address": "127.0.0.1:0", "redis_url": redis_url, "envoy_rules": str(rules), **told})
    async with limiter_app(chosen) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Envoy(channel)
