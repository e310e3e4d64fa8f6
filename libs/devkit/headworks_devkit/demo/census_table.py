"""The census for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rich.table import Table

LISTED = 15


class Row(Protocol):
    """One area of the library."""

    area: str
    files: int
    lines: int
    functions: int
    classes: int
    imports: int
    nesting: int


def table(rows: Sequence[Row]) -> Table:
    """The largest areas, the rest in one row, and the total."""
    ordered = sorted(rows, key=lambda row: row.lines, reverse=True)
    shown = Table(title="census of the standard library", title_justify="left", box=None, pad_edge=False)
    shown.add_column("area")
    for column in ("files", "lines", "functions", "classes", "imports", "nesting"):
        shown.add_column(column, justify="right")
    for row in ordered[:LISTED]:
        shown.add_row(row.area, *_cells([row]))
    rest = ordered[LISTED:]
    if rest:
        shown.add_row(f"{len(rest)} others", *_cells(rest), style="dim")
    shown.add_row("total", *_cells(ordered), style="bold")
    return shown


def _cells(rows: Sequence[Row]) -> list[str]:
    sums = [sum(getattr(row, field) for row in rows) for field in ("files", "lines", "functions", "classes", "imports")]
    deepest = max((row.nesting for row in rows), default=0)
    return [f"{value:,}" for value in (*sums, deepest)]
