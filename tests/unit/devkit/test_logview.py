"""Service logs as people read them."""

from __future__ import annotations

import io
import json

from headworks_devkit.logview import LogView, readable
from rich.console import Console


def record(**fields: object) -> str:
    return json.dumps({"timestamp": "2026-11-22T10:11:12.345678Z", "level": "info", "service": "limiter", **fields})


def test_a_record_shows_its_time_its_event_and_its_fields() -> None:
    line = record(event="rules.loaded", namespaces=2, file="rules.yaml")
    assert readable(line).plain == "10:11:12.345 rules.loaded namespaces=2 file=rules.yaml"


def test_an_error_stands_out() -> None:
    assert any("red" in str(span.style) for span in readable(record(event="call.failed", level="error")).spans)


def test_a_line_that_is_no_record_is_shown_as_it_is() -> None:
    assert readable("Traceback (most recent call last):").plain == "Traceback (most recent call last):"
    assert readable("{half a record").plain == "{half a record"


def test_square_brackets_in_a_log_are_not_taken_for_markup() -> None:
    out = io.StringIO()
    LogView(Console(file=out)).write("worker-1", "[red]not markup[/red]")
    assert out.getvalue() == "worker-1     | [red]not markup[/red]\n"


def test_a_long_line_is_not_wrapped() -> None:
    out = io.StringIO()
    LogView(Console(file=out, width=40)).write("w", "x" * 200)
    assert out.getvalue().count("\n") == 1
