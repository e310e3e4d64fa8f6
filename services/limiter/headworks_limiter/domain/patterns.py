"""What a descriptor's value must look like: a value, any value, or a pattern like `POST /wallets/*/refresh`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

ANY = "*"
"""Matches every value; each value has a bucket of its own."""
ANY_PARTS = "**"
SYNTAX = '"*" stands for any text without a slash, "**" between slashes for any number of parts'


@dataclass(frozen=True, slots=True)
class Pattern:
    """`*` alone fits every value. Elsewhere it stands for any text without a slash; `**` for any parts between slashes.

    Matching takes at most the product of the two lengths in steps, whatever the value is.
    """

    text: str
    _parts: tuple[str, ...] = field(init=False, compare=False, repr=False)
    """Between slashes; empty where nothing has to be matched."""

    def __post_init__(self) -> None:
        """Raises ValueError for `**` beside other text."""
        parts = tuple(self.text.split("/")) if ANY in self.text and self.text != ANY else ()
        if any(ANY_PARTS in part and part != ANY_PARTS for part in parts):
            raise ValueError(f"{self.text!r} means nothing: {SYNTAX}")
        object.__setattr__(self, "_parts", parts)

    def fits(self, value: str) -> bool:
        """Whether this value is meant."""
        if self._parts:
            return _fit(self._parts, value.split("/"), ANY_PARTS, _part_fits)
        return self.text in (ANY, value)

    def named(self, value: str) -> str:
        """What a bucket for this value goes by: all values that fit a pattern share one."""
        return value if self.text == ANY else self.text


def _part_fits(pattern: str, part: str) -> bool:
    return pattern == part or (ANY in pattern and _fit(pattern, part, ANY, str.__eq__))


def _fit(wanted: Sequence[str], found: Sequence[str], star: str, same: Callable[[str, str], bool]) -> bool:
    """Whether `found` is `wanted` with each star standing for any run of items.

    Only the last star that was met can have to take more, so nothing is tried twice.
    """
    at = seen = 0
    after_star, taken_by_star = 0, 0
    while seen < len(found):
        if at < len(wanted) and wanted[at] == star:
            at += 1
            after_star, taken_by_star = at, seen
        elif at < len(wanted) and same(wanted[at], found[seen]):
            at, seen = at + 1, seen + 1
        elif after_star:
            taken_by_star += 1
            at, seen = after_star, taken_by_star
        else:
            return False
    return all(left == star for left in wanted[at:])
