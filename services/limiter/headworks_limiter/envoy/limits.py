"""Rules of envoyproxy/ratelimit, and which of them a descriptor finds.

A domain is a tree; the entries of a descriptor lead from its root down, one level each. At a level the text
`key_value` is looked for first, then the first wildcard that fits it in the order of the file, then the key alone. A
limit is found only at the last entry: a rule that is deeper or less deep than the descriptor is none.

Source: envoyproxy/ratelimit, README and src/config/config_impl.go (read for the order).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from headworks_limiter.envoy.windows import Unit

Pair = tuple[str, str]
OVERRIDE = "(override)"
"""The rule of limits that callers give."""


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """What a rule allows."""

    requests_per_unit: int
    unit: Unit | None
    """None: unlimited."""
    rule: str = OVERRIDE
    """Its place in the domain, `key_value.key`, as the file has it."""
    name: str = ""
    replaces: frozenset[str] = frozenset()
    """Names of limits that do not count for a request that finds this one."""
    shadow: bool = False
    """It counts, and is never exceeded."""
    quota: bool = False
    """A request is refused for its quotas only when all are exceeded."""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Wildcard:
    """A text in which `*` stands for any text."""

    def __init__(self, text: str) -> None:
        first, *rest = text.split("*")
        self._first, self._last, self._between = first, rest.pop(), rest

    def fits(self, text: str) -> bool:
        """Whether it stands for all of `text`."""
        at, end = len(self._first), len(text) - len(self._last)
        if at > end or not (text.startswith(self._first) and text.endswith(self._last)):
            return False
        for part in self._between:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


@dataclass(slots=True)
class Level:
    """What may follow at one place of the tree."""

    limit: Limit | None = None
    shared: str = ""
    """The value that all values which fit here count as; empty: each counts by itself."""
    below: dict[str, Level] = field(default_factory=dict)
    """By `key` or `key_value`."""
    wildcards: list[tuple[Wildcard, Level]] = field(default_factory=list)

    def add(self, text: str, level: Level) -> None:
        """One more; `text` is not there yet."""
        self.below[text] = level
        if "*" in text:
            self.wildcards.append((Wildcard(text), level))

    @property
    def limits(self) -> int:
        """How many there are, here and below."""
        return (self.limit is not None) + sum(level.limits for level in self.below.values())

    def step(self, key: str, value: str) -> tuple[Level | None, str]:
        """Where an entry leads, and the value that it counts as."""
        text = f"{key}_{value}"
        exact = self.below.get(text)
        if exact is not None:
            return exact, value
        for wildcard, level in self.wildcards:
            if wildcard.fits(text):
                return level, level.shared.removeprefix(f"{key}_") or value
        return self.below.get(key), value


class Found(NamedTuple):
    """The limit of a descriptor, and the entries that tell its counter from others."""

    limit: Limit
    entries: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Domains:
    """The rules of every domain."""

    by_name: Mapping[str, Level] = field(default_factory=dict)

    def find(self, domain: str, entries: Sequence[Pair]) -> Found | None:
        """The limit of a descriptor in a domain that is known; None: there is none."""
        level: Level | None = self.by_name[domain]
        counted: list[Pair] = []
        for key, value in entries:
            level, as_value = level.step(key, value) if level is not None else (None, value)
            if level is None:
                return None
            counted.append((key, as_value))
        return None if level is None or level.limit is None else Found(level.limit, tuple(counted))


def replaced(limits: Iterable[Limit | None]) -> frozenset[str]:
    """The names of limits that these replace."""
    return frozenset[str]().union(*(limit.replaces for limit in limits if limit is not None))


def counter_key(prefix: str, tenant: str, domain: str, unit: Unit, entries: Iterable[Pair]) -> str:
    """Where the hits are counted. Texts are hashed, each behind its length, so no two counters look alike."""
    parts = (part.encode() for pair in (("", domain), *entries) for part in pair)
    digest = blake2b(b"".join(b"%d:%b" % (len(part), part) for part in parts), digest_size=16).hexdigest()
    return f"{prefix}:lim:{tenant}:envoy/{unit.name.lower()}:{digest}"
