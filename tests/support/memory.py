"""How much memory a process has, and whether it grows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def resident_mb(pid: int) -> float:
    """Its resident set, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line that fits (x, y) best: y per x. Source: ordinary least squares."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
