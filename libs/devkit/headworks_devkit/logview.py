"""Many processes' JSON logs as one log for people: a coloured prefix, the time, the event, its fields."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.text import Text

PREFIX_STYLES = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_green", "bright_magenta")
LEVEL_STYLES = {"warning": "yellow", "error": "bold red", "critical": "bold red", "debug": "dim"}
_SHOWN_APART = frozenset({"event", "level", "timestamp", "logger", "service"})


class LogView:
    """Prints lines of several processes on one console, in the order they arrive."""

    def __init__(self, console: Console, *, prefix_width: int = 12) -> None:
        self._console = console
        self._width = prefix_width
        self._styles: dict[str, str] = {}

    def write(self, name: str, line: str) -> None:
        """Print one line of the process `name`; lines that are not JSON objects are printed as they are."""
        style = self._styles.setdefault(name, PREFIX_STYLES[len(self._styles) % len(PREFIX_STYLES)])
        text = Text.assemble((f"{name:<{self._width}} ", style), ("| ", "dim"))
        text.append_text(readable(line))
        self._console.print(text, soft_wrap=True, highlight=False)


def readable(line: str) -> Text:
    """One log line, rendered."""
    record = _record(line)
    if record is None:
        return Text(line)
    level = str(record.get("level", "info"))
    text = Text.assemble((f"{_clock(record)} ", "dim"), (str(record.get("event", "")), LEVEL_STYLES.get(level, "bold")))
    for key, value in record.items():
        if key not in _SHOWN_APART:
            text.append(f" {key}=", style="dim")
            text.append(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text


def _record(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _clock(record: dict[str, Any]) -> str:
    """HH:MM:SS.mmm of an ISO timestamp."""
    return str(record.get("timestamp", "")).partition("T")[2][:12]
