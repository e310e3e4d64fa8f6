"""Allowed and refused requests over time: as lines of a terminal, and as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

BLOCKS = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 960, 320, 60, 48, 40
GREEN, RED = "#2e7d32", "#c62828"


class Column(NamedTuple):
    """A stretch of time."""

    allowed: int
    refused: int


def columns(times: Sequence[tuple[int, bool]], count: int) -> list[Column]:
    """The requests in `count` stretches of the same length; fewer where there are fewer microseconds."""
    if not times:
        return []
    first, last = times[0][0], times[-1][0]
    width_us = max(1, -(-(last - first + 1) // count))
    sums = [[0, 0] for _ in range((last - first) // width_us + 1)]
    for at_us, allowed in times:
        sums[(at_us - first) // width_us][0 if allowed else 1] += 1
    return [Column(*pair) for pair in sums]


def bars(values: Sequence[int], most: int) -> str:
    """One line of block characters; anything above 0 shows."""
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[0 if not value else max(1, round(value / most * top))] for value in values)


def clock(at_us: int) -> str:
    """A time of the simulation, in UTC."""
    return datetime.fromtimestamp(at_us / 1e6, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def svg(title: str, times: Sequence[tuple[int, bool]], count: int = 240, *, waited: str = "") -> str:
    """Stacked columns, allowed below refused, with the most of a column and both ends of time written beside them.

    `waited` says how many of those allowed had to wait.
    """
    found = columns(times, count)
    most = max((sum(column) for column in found), default=1)
    step, scale = (WIDTH - LEFT - 10) / max(1, len(found)), (HEIGHT - TOP - BOTTOM) / most
    ground = HEIGHT - BOTTOM
    parts = []
    for index, column in enumerate(found):
        x, green, red = LEFT + index * step, column.allowed * scale, column.refused * scale
        parts += [_bar(x, ground - green, step, green, GREEN), _bar(x, ground - green - red, step, red, RED)]
    ends = (clock(times[0][0]), clock(times[-1][0])) if times else ("", "")
    allowed = sum(column.allowed for column in found)
    refused = sum(column.refused for column in found)
    texts = [
        _text(LEFT, 20, "start", title, bold=True),
        _text(LEFT, 38, "start", f"{allowed:,} allowed", color=GREEN),
        _text(LEFT + 160, 38, "start", f"{refused:,} refused", color=RED),
        *([_text(LEFT + 320, 38, "start", waited)] if waited else []),
        _text(LEFT - 6, TOP + 10, "end", f"{most:,}"),
        _text(LEFT - 6, ground, "end", "0"),
        _text(LEFT, ground + 20, "start", ends[0]),
        _text(WIDTH - 10, ground + 20, "end", ends[1]),
    ]
    axis = f'<path d="M{LEFT} {TOP}V{ground}H{WIDTH - 10}" fill="none" stroke="#555"/>'
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    body = "\n".join([f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *filter(None, parts), axis, *texts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{body}\n</svg>\n'


def _bar(x: float, y: float, width: float, height: float, color: str) -> str:
    if not height:
        return ""
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{color}"/>'


def _text(x: float, y: float, anchor: str, text: str, *, color: str = "#222", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    where = f'x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"'
    return f'<text {where} font-family="sans-serif" font-size="13" fill="{color}"{weight}>{escape(text)}</text>'
