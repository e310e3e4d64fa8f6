"""A trusted way past the rules, for emergencies: who is let through, and until when."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headworks_limiter.domain.patterns import Pattern

HASHED = "sha256:"
SHOWN = 8
"""Digits of a hash that are told."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """Fits the value that has this SHA-256, so that a file can name a secret without holding it."""

    digest: str
    """64 hexadecimal digits, lower case."""

    @property
    def text(self) -> str:
        """How it is shown."""
        return f"{HASHED}{self.digest[:SHOWN]}..."

    def fits(self, value: str) -> bool:
        """Whether this value is meant."""
        return hashlib.sha256(value.encode()).hexdigest() == self.digest


Look = Pattern | Hashed


@dataclass(frozen=True, slots=True)
class Bypass:
    """One entry of a namespace's `bypass` list."""

    namespace: str
    name: str
    tenant: Pattern
    match: tuple[tuple[str, Look], ...]
    until_s: float | None
    """Seconds since the epoch; None: it does not end, as it needs a secret."""

    def meant_for(self, tenant: str, descriptors: Mapping[str, str]) -> bool:
        """Whether it is this request's, as long as it holds."""
        return self.tenant.fits(tenant) and all(
            key in descriptors and look.fits(descriptors[key]) for key, look in self.match
        )

    def holds(self, now_s: float) -> bool:
        """Whether it has not ended."""
        return self.until_s is None or now_s < self.until_s


def longest(bypasses: Iterable[Bypass], tenant: str, descriptors: Mapping[str, str]) -> Bypass | None:
    """Of those meant for the request the one that ends last."""
    meant = (each for each in bypasses if each.meant_for(tenant, descriptors))
    return max(meant, key=lambda each: float("inf") if each.until_s is None else each.until_s, default=None)
