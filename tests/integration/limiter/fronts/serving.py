"""A limiter behind one of its fronts."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from headworks_limiter.app import limiter_app
from headworks_limiter.settings import Settings
from redis.asyncio import Redis

from tests.integration.limiter.serving import PATIENT_MS, Limiter

SERVICE = "/headworks.limiter.v1.LimiterService"
RULES = """
namespaces:
  api:
    rules:
      - {name: rate, match: {user: "*"}, limit: 100, per: 2000d}
"""


@dataclass(frozen=True)
class Front:
    """A running limiter and where it listens."""

    port: int
    limiter: Limiter
    rules: Path

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    def url(self, method: str, scheme: str = "http") -> str:
        """Of a method of the limiter's service."""
        return f"{scheme}://{self.address}{SERVICE}/{method}"


@asynccontextmanager
async def front(kind: str, valkey_url: str, folder: Path, **settings: Any) -> AsyncIterator[Front]:
    """A limiter with RULES while the block runs."""
    rules = folder / "rules.yaml"
    rules.write_text(RULES)
    told: dict[str, Any] = {"address": "127.0.0.1:0", "redis_timeout_ms": PATIENT_MS, "metrics_address": "", **settings}
    chosen = Settings(front=kind, redis_url=valkey_url, rules_file=str(rules), **told)  # type: ignore[arg-type]
    async with limiter_app(chosen) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Front(port, Limiter(channel), rules)


def framed(message: bytes) -> bytes:
    """A message as gRPC and gRPC-Web frame it."""
    return struct.pack(">BI", 0, len(message)) + message


async def in_script(redis: Redis) -> bool:
    """Whether the store holds back a script of somebody, because writes are paused."""
    return any(each["cmd"] == "evalsha" and "b" in each["flags"] for each in await redis.client_list())
