"""Rules of the repository that no linter knows: sizes, and the contracts in the headers of Lua scripts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES = 400
FUNCTION_LINES = 60
LONGER_FILES: dict[str, str] = {}
"""Path -> why it may be longer."""
LONGER_FUNCTIONS: dict[str, str] = {}
"""Path::function -> why it may be longer."""

PYTHON = sorted(
    path
    for folder in ("libs", "services", "tests", "examples")
    for path in (ROOT / folder).rglob("*.py")
    if "libs/gen" not in path.as_posix() and "broken" not in path.parts
)
LUA = sorted((ROOT / "services").rglob("*.lua"))


def name_of(path: Path) -> str:
    """The path from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a file with its length in lines, decorators aside."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            yield node.name, node.end_lineno - node.lineno + 1


def test_there_is_something_to_check() -> None:
    assert len(PYTHON) > 50
    assert len(LUA) > 5


def test_files_stay_short() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in [*PYTHON, *LUA]}
    long = {name: length for name, length in lengths.items() if length > FILE_LINES and name not in LONGER_FILES}
    assert long == {}


def test_functions_stay_short() -> None:
    lengths = {f"{name_of(path)}::{name}": length for path in PYTHON for name, length in functions(path)}
    long = {name: n for name, n in lengths.items() if n > FUNCTION_LINES and name not in LONGER_FUNCTIONS}
    assert long == {}


def test_an_exception_is_listed_only_while_it_is_needed() -> None:
    needed = {name_of(path) for path in [*PYTHON, *LUA] if len(path.read_text().splitlines()) > FILE_LINES}
    needed |= {f"{name_of(path)}::{name}" for path in PYTHON for name, n in functions(path) if n > FUNCTION_LINES}
    assert (LONGER_FILES.keys() | LONGER_FUNCTIONS.keys()) <= needed


def header_of(path: Path) -> str:
    """The comment that a Lua file begins with."""
    lines = path.read_text().splitlines()
    end = next((n for n, line in enumerate(lines) if not line.startswith("--") or line.startswith("--@")), len(lines))
    return "\n".join(lines[:end])


@pytest.mark.parametrize("path", LUA, ids=name_of)
def test_a_script_begins_with_its_name_and_what_it_is(path: Path) -> None:
    assert re.match(rf"-- {path.stem}: \S.*", header_of(path))


OPERATIONS = [path for path in LUA if path.parent.name != "include"]


@pytest.mark.parametrize("path", OPERATIONS, ids=name_of)
def test_the_header_of_an_operation_is_its_contract(path: Path) -> None:
    header = header_of(path)
    assert [part for part in ("KEYS", "ARGV", "returns", "effect", "cost") if f"\n-- {part}" not in header] == []


@pytest.mark.parametrize("path", LUA, ids=name_of)
def test_what_a_script_includes_exists(path: Path) -> None:
    folder = path.parent if path.parent.name == "include" else path.parent / "include"
    included = re.findall(r"^--@include (\w+)$", path.read_text(), re.MULTILINE)
    assert [name for name in included if not (folder / f"{name}.lua").exists()] == []
