"""docs/limiter.md is true to the code: its rules load, its links lead somewhere, its tables are whole."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

import pytest
import typer
from headworks_devkit.cli.app import app
from headworks_limiter import extras_reader, rules
from headworks_limiter.limits_reader import ALGORITHMS

from tests.support.limiter_page import PAGE, TEXT, anchors, blocks, section

COMMAND: Any = typer.main.get_command(app)
SHOWN = [
    line.partition(" #")[0] for block in blocks("") for line in block.splitlines() if line.startswith("headworks ")
]
LINKS = re.findall(r"\]\(([^)]+)\)", TEXT)


def first_cells(table: str) -> list[str]:
    """The words in backticks that the rows of a table begin with."""
    return re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)


def test_there_is_something_to_check() -> None:
    assert len(blocks("yaml")) > 10
    assert len(blocks("python")) >= 8
    assert len(SHOWN) >= 5


@pytest.mark.parametrize("text", blocks("yaml"))
def test_the_rules_of_the_page_are_good(text: str) -> None:
    loaded = rules.parse(text.encode(), path="limiter.md")
    assert any(loaded.namespaces.values())


@pytest.mark.parametrize("text", blocks("python"))
def test_the_code_of_the_page_is_python(text: str) -> None:
    compile(text, "limiter.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("line", SHOWN)
def test_the_commands_of_the_page_exist(line: str) -> None:
    command, words, options = COMMAND, shlex.split(line)[1:], set[str]()
    while hasattr(command, "commands"):
        options |= {option for parameter in command.params for option in parameter.opts}
        if words[0].startswith("--"):  # an option of the command line itself, and its value
            assert words[0] in options
            words = words[2:]
            continue
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert [word for word in words if word.startswith("--") and word not in options] == []


def test_every_link_and_picture_exists() -> None:
    here = anchors(TEXT)
    broken = []
    for link in LINKS:
        file, _, anchor = link.partition("#")
        target = PAGE.parent / file if file else PAGE
        found = here if target == PAGE else anchors(target.read_text()) if target.suffix == ".md" else set()
        if not target.exists() or (anchor and anchor not in found):
            broken.append(link)
    assert broken == []


def test_every_algorithm_has_a_section_with_a_picture_and_an_example() -> None:
    parts = re.split(r"^### ", section("The algorithms"), flags=re.MULTILINE)[1:]
    assert {part.splitlines()[0] for part in parts} == set(ALGORITHMS)
    assert [part.splitlines()[0] for part in parts if "```yaml" not in part or "](images/limiter/" not in part] == []
    chosen = re.findall(r"^\| \[(\w+)\]", section("Which algorithm"), re.MULTILINE)
    assert sorted(chosen) == sorted(ALGORITHMS)


def test_the_table_of_keys_has_every_key_that_a_rule_may_have_and_no_other() -> None:
    tables = section("Every key of the rules file").split("An override has")
    assert sorted(first_cells(tables[0])) == sorted(rules.RULE_KEYS)
    sentence, namespace_table = tables[1].split("\n\n", 1)
    said = re.findall(r"`(\w+)`", sentence.partition("Beside its")[0])
    assert sorted(said) == sorted(rules.OVERRIDE_KEYS)
    assert sorted(first_cells(namespace_table)) == sorted(extras_reader.EXTRAS)


def test_every_wish_has_an_answer() -> None:
    wishes = re.findall(r"^\| (\d+) \| (.+) \| (.+) \|$", section("Seventeen wishes"), re.MULTILINE)
    assert [int(number) for number, _, _ in wishes] == list(range(1, 18))
