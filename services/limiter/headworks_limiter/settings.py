"""What a limiter can be told."""

from __future__ import annotations

from typing import Literal, Self

from headworks_core.settings import ServiceSettings
from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

MEMORY = "memory:"


class Settings(ServiceSettings):
    """Read once at start, from HEADWORKS_LIMITER_<FIELD> or --<field>."""

    model_config = SettingsConfigDict(env_prefix="HEADWORKS_LIMITER_")

    front: Literal["grpc", "envoy"] = "grpc"
    """What answers calls: grpc.aio, or Envoy with this service inside (extra `envoy`), which also speaks gRPC-Web,
    Connect and TLS."""
    tls_cert: str = ""
    """The certificate chain in PEM, a file; with front envoy. Empty: plaintext."""
    tls_key: str = ""
    """The certificate's private key in PEM, a file."""
    tls_client_ca: str = ""
    """Callers must show a certificate signed by one of these, a file in PEM; `address` may then leave loopback."""
    address: str = "127.0.0.1:50051"
    """Where to listen, host:port."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """Where the buckets are; `memory:` keeps them in this process, for a single replica without Redis."""
    redis_timeout_ms: int = Field(default=50, ge=1, le=60_000)
    """Milliseconds until an unanswered store counts as failed; rules say what happens then."""
    rules_file: str = ""
    """The rules, see docs/limiter.md; empty: no namespace exists."""
    enabled: bool = True
    """False allows every request that is well formed, and asks no store: the switch for an emergency."""
    replicas: int = Field(default=1, ge=1, le=10_000)
    """Limiters that share the rules; one of them grants 1/replicas of a limit while the store is away (`local`)."""
    cells: int = Field(default=1, ge=1, le=4096)
    """Hash tags that the state is spread over; fixed when the first replica ever starts."""

    @model_validator(mode="after")
    def _memory_is_for_one(self) -> Self:
        if self.in_memory and self.replicas > 1:
            raise ValueError("redis_url is memory:, so replicas must be 1: they would not share their buckets")
        return self

    @model_validator(mode="after")
    def _tls_is_whole_and_somebody_does_it(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key) or (self.tls_client_ca and not self.tls_cert):
            raise ValueError("tls_cert and tls_key belong together, and tls_client_ca needs both")
        if self.tls_cert and self.front != "envoy":
            raise ValueError("tls_cert needs front envoy: it is Envoy that does TLS")
        return self

    @property
    def in_memory(self) -> bool:
        """Whether there is no Redis."""
        return self.redis_url == MEMORY
