"""Cost tables: what a request takes whose caller does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headworks_limiter.domain.matching import Match, fits

DEFAULT = 1
"""Permits, where no line of the table fits."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One line of a table."""

    match: Match
    permits: int


def cost_of(table: Sequence[Cost], descriptors: Mapping[str, str]) -> int:
    """The permits of the first line that fits."""
    return next((cost.permits for cost in table if fits(cost.match, descriptors)), DEFAULT)
