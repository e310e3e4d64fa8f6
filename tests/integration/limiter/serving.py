"""A running limiter, and requests to it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from headworks.limiter.v1.limiter_pb2 import DETAIL_ALL, Decision, PermitRequest, PermitResult
from headworks.limiter.v1.limiter_service_pb2 import CheckRequest, ConsumeBatchRequest, ConsumeRequest
from headworks.limiter.v1.limiter_service_pb2_grpc import LimiterServiceStub
from headworks_core.errors import ServiceError
from headworks_limiter.app import limiter_app
from headworks_limiter.settings import Settings

PATIENT_MS = 10_000
"""A store timeout that a busy machine does not reach by itself."""


def request(namespace: str = "api", **fields: Any) -> PermitRequest:
    """A request; descriptors are keywords, other fields begin with `_`."""
    told = {key[1:]: value for key, value in fields.items() if key.startswith("_")}
    descriptors = {key: value for key, value in fields.items() if not key.startswith("_")}
    return PermitRequest(namespace=namespace, descriptors=descriptors, **{"detail": DETAIL_ALL, **told})


def seconds(duration: Any) -> float:
    """A Duration in seconds."""
    return float(duration.ToTimedelta() / timedelta(seconds=1))


def text(stored: bytes | str) -> str:
    """What the store holds, as text."""
    return stored.decode() if isinstance(stored, bytes) else stored


@dataclass(frozen=True)
class Limiter:
    """A client of a running limiter, for one tenant."""

    channel: grpc.aio.Channel
    tenant: str = "default"
    metadata: tuple[tuple[str, str], ...] = ()
    address: str = ""
    """Where it listens, for clients of other kinds."""

    @property
    def stub(self) -> Any:
        """The generated stub."""
        return LimiterServiceStub(self.channel)

    def of(self, tenant: str) -> Limiter:
        """The same limiter for another tenant."""
        return replace(self, tenant=tenant)

    def traced(self, traceparent: str) -> Limiter:
        """The same limiter, called from this trace."""
        return replace(self, metadata=(("traceparent", traceparent),))

    def _options(self) -> Mapping[str, Any]:
        return {"metadata": (("headworks-tenant", self.tenant), *self.metadata), "timeout": 60}

    async def consume(self, asked: PermitRequest) -> Decision:
        """Take permits."""
        decision: Decision = (await self.stub.Consume(ConsumeRequest(request=asked), **self._options())).decision
        return decision

    async def check(self, asked: PermitRequest) -> Decision:
        """Look."""
        decision: Decision = (await self.stub.Check(CheckRequest(request=asked), **self._options())).decision
        return decision

    async def batch(self, *asked: PermitRequest) -> list[PermitResult]:
        """Take permits for each."""
        reply = await self.stub.ConsumeBatch(ConsumeBatchRequest(requests=asked), **self._options())
        return list(reply.results)


@asynccontextmanager
async def running(redis_url: str, rules: str, **settings: Any) -> AsyncIterator[Limiter]:
    """A limiter with these rules, while the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rules.yaml"
        file.write_text(rules)
        told: dict[str, Any] = {"redis_timeout_ms": PATIENT_MS, "shutdown_grace_s": 1.0, **settings}
        chosen = Settings(**{"address": "127.0.0.1:0", "redis_url": redis_url, "rules_file": str(file), **told})
        async with (
            limiter_app(chosen) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            yield Limiter(channel, address=f"127.0.0.1:{port}")


async def refused_at_start(redis_url: str, kind: type[ServiceError], why: str) -> None:
    """A limiter does not start on that store: an error of that kind says why, without the password `secret`."""
    with pytest.raises(kind, match=why) as raised:
        async with limiter_app(Settings(address="127.0.0.1:0", redis_url=redis_url, shutdown_grace_s=1.0)):
            pass
    assert "secret" not in str(raised.value)
