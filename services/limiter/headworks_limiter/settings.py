"""What a limiter can be told."""

from __future__ import annotations

from typing import Literal, Self

from headworks_core.address import Kind, parse
from headworks_core.settings import ServiceSettings
from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

MEMORY = "memory:"
CLUSTER_CELLS = 64


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
    """Where the buckets are: redis://, redis+cluster://host:port,... or redis+sentinel://host:port,.../service (with
    rediss for TLS), see docs/redis.md; `memory:` keeps them in this process, for a single replica without Redis."""
    redis_timeout_ms: int = Field(default=50, ge=1, le=60_000)
    """Milliseconds until an unanswered store counts as failed; rules say what happens then."""
    rules_file: str = ""
    """The rules, see docs/limiter.md; empty: no namespace exists."""
    enabled: bool = True
    """False allows every request that is well formed, and asks no store: the switch for an emergency."""
    replicas: int = Field(default=1, ge=1, le=10_000)
    """Limiters that share the rules; one of them grants 1/replicas of a limit while the store is away (`local`)."""
    max_new_buckets_per_minute: int = Field(default=0, ge=0)
    """Buckets of descriptors new to this replica that each tenant may begin with in a minute; 0: any number."""
    reservation_ttl_ms: int = Field(default=2_000, ge=10, le=600_000)
    """Milliseconds after which what a request has reserved of platform rules in another cell comes back, if its limiter
    has died meanwhile; several times `redis_timeout_ms`."""
    envoy_rules: str = ""
    """Rules of envoyproxy/ratelimit, a file or a folder of files; empty: Envoy's service is not served."""
    envoy_headers: bool = False
    """Whether Envoy is told to add RateLimit-Limit, RateLimit-Remaining and RateLimit-Reset."""
    envoy_shadow: bool = False
    """True lets every request of Envoy pass, and counts."""
    envoy_quota: bool = False
    """True makes every limit of Envoy's rules a quota: all must be exceeded to refuse."""
    envoy_metadata: bool = False
    """Whether Envoy is given dynamic metadata: what was asked, and what the rules say about it."""
    cells: int = Field(default=1, ge=1, le=4096)
    """Hash tags that the state is spread over; fixed when the first replica ever starts. Untold: 64 on a cluster."""

    @field_validator("redis_url")
    @classmethod
    def _url_can_be_read(cls, value: str) -> str:
        if value != MEMORY:
            parse(value)
        return value

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
    def cells_wanted(self) -> int:
        """`cells`, or what suits the store."""
        if "cells" in self.model_fields_set or self.in_memory:
            return self.cells
        return CLUSTER_CELLS if parse(self.redis_url).kind is Kind.CLUSTER else self.cells

    @property
    def in_memory(self) -> bool:
        """Whether there is no Redis."""
        return self.redis_url == MEMORY
