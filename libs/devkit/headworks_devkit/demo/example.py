"""Finds the census example; it is no part of the distribution, so the demo needs a checkout."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headworks_client import JobSnapshot

CENSUS = Path("examples", "census")


class NoCheckout(RuntimeError):
    """The example is nowhere to be found."""


@dataclass(frozen=True, slots=True)
class Example:
    """The census, ready to be taken."""

    root: Path
    """What its package is imported from."""
    rules: Path
    tasks: str
    files: Sequence[Path]
    make: Callable[..., Any]
    """`Census(window=..., on_end=...)`"""

    def census(self, *, window: int, on_end: Callable[[JobSnapshot], None]) -> Any:
        """A census that has not begun."""
        return self.make(window=window, on_end=on_end)


def find_example() -> Example:
    """The example of this checkout, or of the current folder. Raises NoCheckout."""
    for root in (Path(__file__).parents[4], Path.cwd()):
        if (root / CENSUS / "tasks.py").is_file():
            return _load(root)
    raise NoCheckout(f"{CENSUS} is not here: run the demo in a checkout of headworks")


def _load(root: Path) -> Example:
    sys.path.insert(0, str(root))
    caller = importlib.import_module("examples.census.caller")
    return Example(
        root=root,
        rules=root / CENSUS / "rules.yaml",
        tasks="examples.census.tasks",
        files=caller.library_files(),
        make=caller.Census,
    )
