"""YAML read node by node, so that every mistake is found and has its line."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_TEXT = "tag:yaml.org,2002:str"
_INTEGER = re.compile(r"0|[1-9][0-9]*(_[0-9]+)*")


class Mistake(NamedTuple):
    """One thing that is wrong with a file."""

    path: str
    line: int
    """From 1; 0 stands for the file itself."""
    message: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.message}"


class Entry(NamedTuple):
    """A key of a mapping and its value."""

    key: Node
    value: Node


class Nodes:
    """Reads the nodes of one file; whatever is not as it should be becomes a mistake and is left out."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.mistakes: list[Mistake] = []

    def mistake(self, where: Node | int, message: str) -> None:
        """Note a mistake at a node, or in a line."""
        line = where if isinstance(where, int) else where.start_mark.line + 1
        self.mistakes.append(Mistake(self.path, line, message))

    def parse(self, content: bytes) -> Node | None:
        """The root of the only document."""
        try:
            root = yaml.compose(content.decode(), Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            self.mistake(content.count(b"\n", 0, error.start) + 1, "not UTF-8")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.mistake(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}{_hint(error)}")
        except yaml.YAMLError as error:
            self.mistake(1, f"not YAML: {str(error).splitlines()[0]}")
        except RecursionError:
            self.mistake(1, "not readable: nested too deeply")
        else:
            if root is None:
                self.mistake(1, "the file is empty")
            return root
        return None

    def mapping(self, node: Node, what: str, allowed: Collection[str] = ()) -> dict[str, Entry]:
        """Its entries, without doubles and, unless `allowed` is empty, without unknown keys."""
        entries: dict[str, Entry] = {}
        if not isinstance(node, MappingNode):
            self.mistake(node, f"{what}: must be a mapping (key: value)")
            return entries
        for key, value in node.value:
            name = key.value if isinstance(key, ScalarNode) else None
            if name is None:
                self.mistake(key, f"{what}: a key must be text")
            elif name in entries:
                first = entries[name].key.start_mark.line + 1
                self.mistake(key, f"{what}: {name!r} is there twice, first in line {first}")
            elif allowed and name not in allowed:
                self.mistake(key, f"{what}: unknown key {name!r}; allowed: {', '.join(sorted(allowed))}")
            else:
                entries[name] = Entry(key, value)
        return entries

    def sequence(self, node: Node, what: str) -> list[Node]:
        """Its items."""
        if isinstance(node, SequenceNode):
            return list(node.value)
        self.mistake(node, f"{what}: must be a list (- item)")
        return []

    def text(self, node: Node, what: str, rule: str) -> str | None:
        """A scalar as it is written: `1` and `true` count as text, an empty value or `null` does not."""
        if isinstance(node, ScalarNode) and node.tag != "tag:yaml.org,2002:null":
            return str(node.value)
        self.mistake(node, f"{what}: must be {rule}")
        return None

    def choice(self, node: Node, what: str, allowed: Collection[str]) -> str | None:
        """One of the words allowed."""
        rule = f"one of {', '.join(allowed)}"
        word = self.text(node, what, rule)
        if word is None or word in allowed:
            return word
        self.mistake(node, f"{what}: must be {rule}, not {word!r}")
        return None

    def boolean(self, node: Node, what: str) -> bool | None:
        """`true` or `false`."""
        if isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:bool" and node.value in {"true", "false"}:
            return bool(node.value == "true")
        self.mistake(node, f"{what}: must be true or false")
        return None

    def integer(self, node: Node, what: str, low: int, high: int) -> int | None:
        """A whole number in decimal digits, which `_` may group."""
        plain = isinstance(node, ScalarNode) and node.tag != _TEXT and _INTEGER.fullmatch(node.value)
        if plain and low <= int(node.value) <= high:
            return int(node.value)
        shown = f", not {node.value!r}" if isinstance(node, ScalarNode) else ""
        self.mistake(node, f"{what}: must be a whole number from {low:,} to {high:,}{shown}")
        return None


def _hint(error: yaml.MarkedYAMLError) -> str:
    star = error.context == "while scanning an alias"
    return '; a value that begins with * must be quoted: "*"' if star else ""
