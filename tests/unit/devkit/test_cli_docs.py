"""docs/cli.md names every command, and only commands and options that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from headworks_devkit.cli.app import app

TEXT = (Path(__file__).parents[3] / "docs/cli.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)
SHOWN = [line.partition(" #")[0] for block in BLOCKS for line in block.splitlines() if line.startswith("headworks ")]
COMMAND: Any = typer.main.get_command(app)


def leaves(command: Any = COMMAND, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that does something."""
    for name, child in getattr(command, "commands", {}).items():
        yield from leaves(child, (*path, name))
    if not hasattr(command, "commands"):
        yield path


def test_every_command_is_shown() -> None:
    missing = [" ".join(path) for path in leaves() if not any(f"headworks {' '.join(path)}" in line for line in SHOWN)]
    assert missing == []


@pytest.mark.parametrize("line", SHOWN)
def test_what_is_shown_exists(line: str) -> None:
    command, words = COMMAND, shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert [word for word in words if word.startswith("--") and word not in options] == []
    with command.make_context("shown", words):  # values too: numbers, ranges, required arguments
        pass
