"""Rules of envoyproxy/ratelimit: a file with a domain, or a folder of them. What that takes and refuses is so here.

Like there, every known key may stand anywhere (where it means nothing it is ignored), a key that is there twice counts
as the last one says, and no unquoted value may be a fraction. Unlike there, all mistakes are found at once, with lines.

Source: envoyproxy/ratelimit, src/config/config_impl.go, and yaml.v2 (read for what is accepted).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from headworks_limiter.envoy.limits import Domains, Level, Limit
from headworks_limiter.envoy.windows import Unit
from headworks_limiter.rules import RulesError
from headworks_limiter.yaml_nodes import Mistake, Nodes

MAX_FILE_BYTES = 16 << 20
MAX_NODES = 1_000_000
MAX_DEPTH = 64
MAX_REQUESTS = 2**32 - 1
KEYS = frozenset(
    {"domain", "key", "value", "descriptors", "rate_limit", "unit", "requests_per_unit", "unlimited", "name"}
    | {"replaces", "shadow_mode", "quota_mode", "detailed_metric", "value_to_metric", "share_threshold", "metadata"}
)
SUFFIXES = (".yaml", ".yml")
UNITS = ", ".join(unit.name.lower() for unit in sorted(Unit, key=lambda unit: unit.seconds))

_TAG = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT, _TEXT = (_TAG + name for name in ("null", "bool", "int", "float", "str"))
_FRACTION = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"[-+]?[0-9a-fA-FxXoObB_]+")
_YES, _NO = frozenset({"y", "yes", "true", "on"}), frozenset({"n", "no", "false", "off"})
_MAKER = yaml.constructor.SafeConstructor()
_MAKERS: dict[str, Callable[[Any], Any]] = {
    _BOOL: _MAKER.construct_yaml_bool,
    _INT: _MAKER.construct_yaml_int,
    _FLOAT: _MAKER.construct_yaml_float,
    _NULL: _MAKER.construct_yaml_null,
}

Fields = dict[str, Node]


def load(path: str | Path) -> Domains:
    """The rules in a file, or in the files of a folder that end in .yaml or .yml, hidden ones apart.

    Raises RulesError with all their mistakes.
    """
    mistakes: list[Mistake] = []
    domains: dict[str, Level] = {}
    where: dict[str, str] = {}
    try:
        files = files_of(path)
        contents = [(file, _content(file)) for file in files]
    except OSError as error:
        raise RulesError([Mistake(str(path), 0, f"cannot be read: {error.strerror}")]) from error
    for file, content in contents:
        reader = _DomainFile(Nodes(str(file)))
        name, level = reader.read(content)
        if name in domains:
            reader.nodes.mistake(reader.line, f"domain {name!r} is there twice, first in {where[name]}")
        elif name:
            domains[name], where[name] = level, str(file)
        mistakes += reader.nodes.mistakes
    if mistakes:
        raise RulesError(mistakes)
    return Domains(domains)


def files_of(path: str | Path) -> list[Path]:
    """The file, or those of the folder, by name. Raises OSError."""
    place = Path(path)
    if not place.is_dir():
        return [place]
    return sorted(file for file in place.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))


def is_domain(path: str | Path) -> bool:
    """Whether this looks like rules of Envoy's: a folder, or a file that begins with a domain."""
    if Path(path).is_dir():
        return True
    try:
        root = yaml.compose(Path(path).read_bytes().decode(), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return False
    pairs = root.value if isinstance(root, MappingNode) else ()
    return any(isinstance(key, ScalarNode) and key.value == "domain" for key, _ in pairs)


def _content(file: Path) -> bytes:
    with open(file, "rb") as opened:
        return opened.read(MAX_FILE_BYTES + 1)


class _DomainFile:
    """Reads one file."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.line = 1
        """Where the domain is named."""
        self._looked_at = 0

    def read(self, content: bytes) -> tuple[str, Level]:
        """The name of the domain, empty after a mistake, and its rules."""
        if len(content) > MAX_FILE_BYTES:
            self.nodes.mistake(1, f"the file is larger than {MAX_FILE_BYTES:,} bytes")
            return "", Level()
        root = self.nodes.parse(content)
        if root is None or not self._check(root, 0):
            return "", Level()
        if not isinstance(root, MappingNode):
            self.nodes.mistake(root, "the file: must be a mapping (key: value)")
            return "", Level()
        fields = _fields(root)
        self.line = fields.get("domain", root).start_mark.line + 1
        name = self._text(fields, "domain")
        if not name:
            self.nodes.mistake(self.line, "the domain is missing, or empty")
        top = Level()
        self._descriptors(fields, top, "")
        return name, top

    def _check(self, node: Node, depth: int) -> bool:
        """What holds for the whole file, whatever the keys mean; False: there is no use in reading on."""
        self._looked_at += 1
        if depth > MAX_DEPTH or self._looked_at > MAX_NODES:
            self.nodes.mistake(node, "nested too deeply" if depth > MAX_DEPTH else "too much to read")
            return False
        if isinstance(node, MappingNode):
            _MAKER.flatten_mapping(node)
            return all(self._check_pair(key, value, depth) for key, value in node.value)
        if isinstance(node, SequenceNode):
            for item in node.value:
                if not isinstance(item, MappingNode):
                    self.nodes.mistake(item, "a list must have mappings (- key: value) only")
            return all(self._check(item, depth + 1) for item in node.value if isinstance(item, MappingNode))
        if _is_fraction(node):
            self.nodes.mistake(node, f"a fraction, {node.value}, must be quoted, or be a whole number")
        return True

    def _check_pair(self, key: Node, value: Node, depth: int) -> bool:
        if not isinstance(key, ScalarNode) or key.tag != _TEXT:
            self.nodes.mistake(key, "a key must be text")
        elif key.value not in KEYS:
            self.nodes.mistake(key, f"unknown key {key.value!r}; allowed: {', '.join(sorted(KEYS))}")
        elif key.value != "metadata":
            return self._check(value, depth + 1)
        return True

    def _descriptors(self, fields: Fields, level: Level, path: str) -> None:
        for node in self._items(fields, "descriptors"):
            self._descriptor(_fields(node), node, level, path)

    def _descriptor(self, fields: Fields, node: MappingNode, level: Level, path: str) -> None:
        key, value = self._text(fields, "key"), self._text(fields, "value")
        if not key:
            self.nodes.mistake(node, "a descriptor: the key is missing, or empty")
            return
        text = f"{key}_{value}" if value else key
        place = f"{path}.{text}" if path else text
        if text in level.below:
            self.nodes.mistake(node, f"descriptor {place!r} is there twice")
            return
        shared = self._flag(fields, "share_threshold")
        if shared and "*" not in text:
            self.nodes.mistake(fields["share_threshold"], f"share_threshold: {text!r} has no * in it")
        for ignored in ("detailed_metric", "value_to_metric"):
            self._flag(fields, ignored)
        found = Level(self._limit(fields, place), text if shared else "")
        level.add(text, found)
        self._descriptors(fields, found, place)

    def _limit(self, fields: Fields, place: str) -> Limit | None:
        shadow, quota = self._flag(fields, "shadow_mode"), self._flag(fields, "quota_mode")
        metadata = self._metadata(fields)
        node = fields.get("rate_limit")
        if node is None or node.tag == _NULL:
            return None
        if not isinstance(node, MappingNode):
            self.nodes.mistake(node, "rate_limit: must be a mapping (key: value)")
            return None
        said = _fields(node)
        name = self._text(said, "name")
        unit = self._unit(said, node)
        requests = self._number(said, "requests_per_unit")
        return Limit(requests, unit, place, name, self._replaces(said, name), shadow, quota, metadata)

    def _unit(self, fields: Fields, node: Node) -> Unit | None:
        """None: unlimited, or a mistake."""
        word = self._text(fields, "unit").upper()
        unit = Unit[word] if word in Unit.__members__ else None
        unlimited = self._flag(fields, "unlimited")
        if unlimited and unit is not None:
            self.nodes.mistake(fields["unit"], "unit: what is unlimited has none")
        elif not unlimited and unit is None:
            self.nodes.mistake(fields.get("unit", node), f"unit: must be one of {UNITS}, not {word.lower()!r}")
        return None if unlimited else unit

    def _replaces(self, fields: Fields, own: str) -> frozenset[str]:
        names = set()
        for node in self._items(fields, "replaces"):
            name = self._text(_fields(node), "name")
            if not name:
                self.nodes.mistake(node, "replaces: a name is missing, or empty")
            elif name == own:
                self.nodes.mistake(node, f"replaces: {name!r} is the limit itself")
            names.add(name)
        return frozenset(names)

    def _items(self, fields: Fields, key: str) -> list[MappingNode]:
        node = fields.get(key)
        if node is None or node.tag == _NULL:
            return []
        if isinstance(node, SequenceNode):
            return [item for item in node.value if isinstance(item, MappingNode)]
        self.nodes.mistake(node, f"{key}: must be a list (- item)")
        return []

    def _text(self, fields: Fields, key: str) -> str:
        node = fields.get(key)
        if node is None or node.tag == _NULL:
            return ""
        if isinstance(node, ScalarNode):
            return str(node.value)
        self.nodes.mistake(node, f"{key}: must be text")
        return ""

    def _flag(self, fields: Fields, key: str) -> bool:
        node = fields.get(key)
        if node is None or node.tag == _NULL:
            return False
        word = str(node.value).lower() if isinstance(node, ScalarNode) and node.style is None else ""
        if word not in _YES | _NO:
            self.nodes.mistake(node, f"{key}: must be true or false")
        return word in _YES

    def _number(self, fields: Fields, key: str) -> int:
        node = fields.get(key)
        if node is None or node.tag == _NULL:
            return 0
        if isinstance(node, ScalarNode) and node.tag == _INT and _WHOLE.fullmatch(node.value):
            number = int(_MAKER.construct_yaml_int(node))
            if 0 <= number <= MAX_REQUESTS:
                return number
        if not _is_fraction(node):  # that was said before
            self.nodes.mistake(node, f"{key}: must be a whole number from 0 to {MAX_REQUESTS:,}")
        return 0

    def _metadata(self, fields: Fields) -> dict[str, Any]:
        node = fields.get("metadata")
        if node is None or node.tag == _NULL:
            return {}
        if not isinstance(node, MappingNode):
            self.nodes.mistake(node, "metadata: must be a mapping (key: value)")
            return {}
        plain = self._plain(node, 0)
        return plain if isinstance(plain, dict) else {}

    def _plain(self, node: Node, depth: int) -> Any:
        """A value as JSON has it."""
        self._looked_at += 1
        if depth > MAX_DEPTH or self._looked_at > MAX_NODES:
            self.nodes.mistake(node, "metadata: nested too deeply, or too much")
            return None
        if isinstance(node, MappingNode):
            _MAKER.flatten_mapping(node)
            return {str(key.value): self._plain(value, depth + 1) for key, value in node.value}
        if isinstance(node, SequenceNode):
            return [self._plain(item, depth + 1) for item in node.value]
        make = _MAKERS.get(node.tag)
        return str(node.value) if make is None else make(node)


def _fields(node: MappingNode) -> Fields:
    """By key; the last one of equals."""
    return {key.value: value for key, value in node.value if isinstance(key, ScalarNode)}


def _is_fraction(node: Node) -> bool:
    """Whether it is a number that is none of the whole ones, which are written in several ways."""
    if not isinstance(node, ScalarNode) or node.style is not None or node.tag == _INT:
        return False
    return node.tag == _FLOAT or bool(_FRACTION.fullmatch(node.value))
