"""Versions of a namespace's rules, as the admin API makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

KEPT = 10
"""Versions of a namespace that are kept, the one in use among them."""
MAX_NAMESPACES = 100
MAX_TEXT_BYTES = 128 << 10


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to become a version."""

    text: str
    author: str
    comment: str = ""
    deleted: bool = False
    """The namespace shall have no rules of the API any more; there is no text."""


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """One change of one namespace's rules."""

    namespace: str
    version: int
    at_us: int
    """When, by the store's clock, in microseconds since the epoch."""
    draft: Draft


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The latest versions at one moment."""

    mark: str = ""
    """Changes with every change; empty: the store has none."""
    versions: Mapping[str, RuleVersion] = field(default_factory=dict)
    """By namespace, deletions too."""
