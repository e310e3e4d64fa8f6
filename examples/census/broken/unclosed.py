"""Broken on purpose: a bracket that is never closed."""

NUMBERS = [1, 2, 3
