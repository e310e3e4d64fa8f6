"""What a namespace says beside its rules: its cost table and its way past them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from headworks_core.names import NAMESPACE
from yaml.nodes import Node

from headworks_limiter.domain.bypass import HASHED, Bypass, Hashed, Look
from headworks_limiter.domain.costs import Cost
from headworks_limiter.domain.matching import Match
from headworks_limiter.domain.patterns import ANY, Pattern
from headworks_limiter.yaml_nodes import Entry, Nodes

EXTRAS = ("costs", "bypass")
MAX_COSTS = 256
MAX_BYPASSES = 64
MAX_PERMITS = 1_000_000_000
DIGEST = re.compile(r"[0-9a-f]{64}")
MOMENT = "a time with its zone, like 2026-01-31T06:00:00Z"


class ExtrasReader:
    """Reads EXTRAS of each namespace."""

    def __init__(
        self, nodes: Nodes, match: Callable[[Node], Match], pattern: Callable[[Node, str], Pattern | None]
    ) -> None:
        """`match` and `pattern` read those of the rules."""
        self._nodes = nodes
        self._match = match
        self._pattern = pattern
        self.costs: dict[str, list[Cost]] = {}
        self.bypasses: dict[str, list[Bypass]] = {}

    def read(self, namespace: str, content: Mapping[str, Entry]) -> None:
        """Note what the namespace says."""
        lines: dict[str, int] = {}
        costs = self._items(content, "costs", MAX_COSTS)
        self.costs[namespace] = [cost for cost in map(self._cost, costs) if cost]
        bypasses = (self._bypass(namespace, node, lines) for node in self._items(content, "bypass", MAX_BYPASSES))
        self.bypasses[namespace] = [bypass for bypass in bypasses if bypass]

    def _items(self, content: Mapping[str, Entry], key: str, most: int) -> list[Node]:
        items = self._nodes.sequence(content[key].value, key) if key in content else []
        if len(items) > most:
            self._nodes.mistake(items[most], f"{key}: at most {most}")
        return items[:most]

    def _cost(self, node: Node) -> Cost | None:
        fields = self._fields(node, "a cost", ("match", "permits"), ("match", "permits"))
        if fields is None:
            return None
        match = self._match(fields["match"].value)
        permits = self._nodes.integer(fields["permits"].value, "permits", 1, MAX_PERMITS)
        return None if permits is None else Cost(match, permits)

    def _bypass(self, namespace: str, node: Node, lines: dict[str, int]) -> Bypass | None:
        fields = self._fields(node, "a bypass", ("name", "tenant", "match", "until"), ("name",))
        if fields is None:
            return None
        name = self._name(fields["name"], lines)
        tenant = self._pattern(fields["tenant"].value, "tenant") if "tenant" in fields else Pattern(ANY)
        looks = self._looks(fields["match"].value) if "match" in fields else ()
        until_s = self._until(fields["until"].value) if "until" in fields else None
        if not fields.keys() & {"tenant", "match"}:
            self._nodes.mistake(node, "a bypass: 'tenant' or 'match' is missing: whom is it for?")
        elif "until" not in fields and not any(isinstance(look, Hashed) for _, look in looks):
            self._nodes.mistake(node, f"a bypass: 'until' is missing; only one with a secret ({HASHED}...) may stay")
        return Bypass(namespace, name, tenant, looks, until_s) if name and tenant else None

    def _fields(
        self, node: Node, what: str, allowed: tuple[str, ...], required: tuple[str, ...]
    ) -> dict[str, Entry] | None:
        before = len(self._nodes.mistakes)
        fields = self._nodes.mapping(node, what, allowed)
        missing = [key for key in required if key not in fields]
        if missing and (fields or len(self._nodes.mistakes) == before):
            self._nodes.mistake(node, f"{what}: {', '.join(map(repr, missing))} missing")
        return None if missing else fields

    def _name(self, entry: Entry, lines: dict[str, int]) -> str:
        name = self._nodes.text(entry.value, "name", f"text that matches {NAMESPACE.pattern}")
        if name is None:
            return ""
        if not NAMESPACE.fullmatch(name):
            self._nodes.mistake(entry.value, f"name: must match {NAMESPACE.pattern}, not {name!r}")
        elif name in lines:
            self._nodes.mistake(entry.value, f"name: {name!r} is taken by the bypass in line {lines[name]}")
        lines.setdefault(name, entry.value.start_mark.line + 1)
        return name

    def _looks(self, node: Node) -> tuple[tuple[str, Look], ...]:
        """As of a rule, but that a value may be a hash."""
        looks: dict[str, Look] = dict(self._match(node))
        for key, entry in looks.items():
            if entry.text.startswith(HASHED):
                digest = entry.text.removeprefix(HASHED)
                if not DIGEST.fullmatch(digest):
                    message = f"match: {key}: {HASHED} is followed by 64 hexadecimal digits in lower case"
                    self._nodes.mistake(node, message)
                looks[key] = Hashed(digest)
        return tuple(looks.items())

    def _until(self, node: Node) -> float | None:
        text = self._nodes.text(node, "until", MOMENT)
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = datetime.min
        if moment.tzinfo is None:
            self._nodes.mistake(node, f"until: must be {MOMENT}, not {text!r}")
            return None
        return moment.timestamp()
