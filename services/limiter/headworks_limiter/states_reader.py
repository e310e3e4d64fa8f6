"""The part of a rule that says how much, for the algorithms that are no rates: their own keys, with defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yaml.nodes import Node, ScalarNode

from headworks_limiter.domain import periods
from headworks_limiter.domain.adaptive import LEARN, Adaptive
from headworks_limiter.domain.circuit_breaker import CircuitBreaker
from headworks_limiter.domain.concurrency import MAX_LIMIT, Concurrency
from headworks_limiter.yaml_nodes import Entry, Nodes

STATES = ("concurrency", "adaptive", "circuit_breaker")
TIMES = ("ttl", "latency", "window", "open")
COUNTS = ("least", "calls", "probes")
MAX_COUNT = 100_000
MAX_TIME_US = 86_400_000_000
TTL_US = 60_000_000
SHARE = "a share of the answers, like 50%"

Fields = Mapping[str, Entry]


class StatesReader:
    """Reads the thresholds of STATES."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def read(self, fields: Fields, owner: Node, algorithm: str) -> Concurrency | Adaptive | CircuitBreaker | None:
        """The thresholds; None after a mistake. `owner` is where something is missing."""
        before = len(self._nodes.mistakes)
        breaker = algorithm == "circuit_breaker"
        params = self._breaker(fields, owner) if breaker else self._held(fields, owner, algorithm)
        return None if len(self._nodes.mistakes) > before else params

    def _held(self, fields: Fields, owner: Node, algorithm: str) -> Concurrency | Adaptive | None:
        if "limit" not in fields:
            self._nodes.mistake(owner, f"'limit' is missing: permits that may be held at a time, 1 to {MAX_LIMIT:,}")
            return None
        if "per" in fields:
            self._nodes.mistake(fields["per"].key, f"per: not with algorithm {algorithm}, which is no rate")
        limit = self._nodes.integer(fields["limit"].value, "limit", 1, MAX_LIMIT)
        ttl_us = self._time(fields, "ttl", TTL_US)
        if limit is None:
            return None
        if algorithm == "concurrency":
            return Concurrency(limit, ttl_us)
        return Adaptive(self._count(fields, "least", 1, limit), limit, ttl_us, self._latency(fields))

    def _breaker(self, fields: Fields, owner: Node) -> CircuitBreaker | None:
        if "limit" in fields:
            self._nodes.mistake(fields["limit"].key, "limit: not with algorithm circuit_breaker; see failures")
        if "failures" not in fields:
            self._nodes.mistake(owner, f"'failures' is missing: {SHARE}")
            return None
        node = fields["failures"].value
        text = node.value if isinstance(node, ScalarNode) else ""
        share = int(text[:-1]) if text[:-1].isdecimal() and len(text) <= 4 and text.endswith("%") else 0
        if not 1 <= share <= 100:
            self._nodes.mistake(node, f"failures: must be {SHARE}, 1% to 100%, not {text!r}")
        return CircuitBreaker(
            failures=share,
            calls=self._count(fields, "calls", 20, MAX_COUNT),
            window_us=self._time(fields, "window", 60_000_000),
            open_us=self._time(fields, "open", 30_000_000),
            probes=self._count(fields, "probes", 3, MAX_COUNT),
        )

    def _count(self, fields: Fields, key: str, default: int, most: int) -> int:
        if key not in fields:
            return min(default, most)
        return self._nodes.integer(fields[key].value, key, 1, most) or 1

    def _latency(self, fields: Fields) -> int:
        node = fields["latency"].value if "latency" in fields else None
        return LEARN if isinstance(node, ScalarNode) and node.value == "learn" else self._time(fields, "latency", 0)

    def _time(self, fields: Fields, key: str, default: int) -> int:
        if key not in fields:
            return default
        text = self._nodes.text(fields[key].value, key, periods.SYNTAX)
        period = periods.parse(text) if text is not None else None
        if text is not None and (period is None or not 0 < period.us <= MAX_TIME_US):
            other = ", or learn" if key == "latency" else ""
            self._nodes.mistake(fields[key].value, f"{key}: must be 1ms to 1d, like 30s{other}, not {text!r}")
        return period.us if period else default


def keys_of(algorithm: str) -> Sequence[str]:
    """Its own keys, besides `limit`."""
    return {
        "concurrency": ("ttl",),
        "adaptive": ("ttl", "least", "latency"),
        "circuit_breaker": ("failures", "calls", "window", "open", "probes"),
    }.get(algorithm, ())
