"""Which requests are meant, by their descriptors."""

from __future__ import annotations

from collections.abc import Mapping

from headworks_limiter.domain.patterns import Pattern

Match = tuple[tuple[str, Pattern], ...]
"""Descriptor keys with what the value of each must look like, in the order of the keys."""


def fits(match: Match, descriptors: Mapping[str, str]) -> bool:
    """Whether all keys are there with values that are meant."""
    for key, pattern in match:
        value = descriptors.get(key)
        if value is None or not pattern.fits(value):
            return False
    return True


def mismatch(match: Match, descriptors: Mapping[str, str]) -> str:
    """The first key that keeps the descriptors from fitting, in a few words; empty: they fit."""
    for key, pattern in match:
        value = descriptors.get(key)
        if value is None:
            return f"{key} is missing"
        if not pattern.fits(value):
            return f"{key} is not {pattern.text}"
    return ""
