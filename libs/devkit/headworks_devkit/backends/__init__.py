"""A Redis and a Kafka to work with: embedded ones, local ones, or those that an address names."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True, slots=True)
class RedisBackend:
    """Where the state lives."""

    url: str
    name: str
    """What it is, for people."""
    pid: int | None = None
    """Its process, when it is ours."""

    @property
    def address(self) -> str:
        """The url without credentials, for people."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@dataclass(frozen=True, slots=True)
class KafkaBackend:
    """Where the events go."""

    bootstrap: str
    kind: str
    """"apache" (Kafka itself) or "embedded" (librdkafka's mock cluster)."""
    name: str
    """What it is, for people."""
    pid: int | None = None
    """Its process, when it is ours."""


class BackendUnavailable(RuntimeError):
    """This machine cannot give that backend; the message says what is missing."""
