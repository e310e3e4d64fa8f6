"""The rules file: docs/limiter.md is its reference. All its mistakes are found at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from headworks_core.errors import InvalidArgument
from headworks_core.names import NAMESPACE
from yaml.nodes import MappingNode, Node, ScalarNode

from headworks_limiter.domain.matching import Match
from headworks_limiter.domain.patterns import SYNTAX, Pattern
from headworks_limiter.domain.rule import OnStoreFailure, Override, Rule, Rules
from headworks_limiter.extras_reader import EXTRAS, ExtrasReader
from headworks_limiter.limits_reader import KINDS, LIMITS, LimitsReader, Window
from headworks_limiter.states_reader import STATES
from headworks_limiter.yaml_nodes import Entry, Mistake, Nodes

__all__ = ["Mistake", "Rules", "RulesError", "content_of", "load", "parse", "parse_one"]

MAX_FILE_BYTES = 1 << 20
MAX_RULES = 64
"""Per namespace, and so the most that one request can meet."""
MAX_KEYS = 16
MAX_OVERRIDES = 256
"""A rule."""
MAX_VALUE_BYTES = 256
DESCRIPTOR_KEY = re.compile(r"[a-z0-9_.-]{1,64}")

OPTIONS = ("shadow", "count_denied", "upstream", "scope", "on_store_failure", "overrides")
RULE_KEYS = ("name", "match", *LIMITS, *KINDS, *OPTIONS)
REQUIRED = ("name", "match")
UPSTREAM = ("learn", "ignore")
"""What a rule makes of reports about upstreams."""
SCOPES = ("tenant", "platform")
"""Whose buckets a rule has: each tenant's, or all tenants' together."""
OVERRIDE_KEYS = ("tenant", "match", *LIMITS)
FAILURES = tuple(kind.name.lower() for kind in reversed(OnStoreFailure))


class RulesError(InvalidArgument):
    """The rules file cannot be used; `mistakes` has every reason, in the order of lines."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: mistake.line))
        super().__init__("\n".join(map(str, self.mistakes)))


def load(path: str | Path) -> Rules:
    """The rules in a file. Raises RulesError with all its mistakes."""
    return parse(content_of(path), path=str(path))


def content_of(path: str | Path) -> bytes:
    """What is in a file, and no more of it than can be told to be too much. Raises RulesError."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RulesError([Mistake(str(path), 0, f"cannot be read: {error.strerror}")]) from error


def parse(content: bytes, *, path: str) -> Rules:
    """The rules in a file's content; `path` is for the messages. Raises RulesError with all its mistakes."""
    file = _RulesFile(Nodes(path))
    rules = file.read(content)
    if file.nodes.mistakes:
        raise RulesError(file.nodes.mistakes)
    return rules


def parse_one(namespace: str, content: bytes, *, path: str) -> Rules:
    """The rules of one namespace: what is below its name in a file, or a file with no other. Raises as `parse`."""
    file = _RulesFile(Nodes(path))
    rules = file.read_one(namespace, content)
    if file.nodes.mistakes:
        raise RulesError(file.nodes.mistakes)
    return rules


class _RulesFile:
    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self._limits = LimitsReader(nodes)
        self._extras = ExtrasReader(nodes, self._match, self._pattern)

    def read(self, content: bytes) -> Rules:
        root = self._root(content)
        if root is None:
            return Rules()
        top = self.nodes.mapping(root, "the file", ["namespaces"])
        if "namespaces" not in top:
            self.nodes.mistake(root, "the file: 'namespaces' is missing")
            return Rules()
        return self._rules(self.nodes.mapping(top["namespaces"].value, "namespaces"))

    def read_one(self, namespace: str, content: bytes) -> Rules:
        """Of one namespace: what is below its name in a file, or a file that has no other."""
        root = self._root(content)
        if root is None:
            return Rules()
        entry = Entry(root, root)
        if isinstance(root, MappingNode) and any(key.value == "namespaces" for key, _ in root.value):
            top = self.nodes.mapping(root, "the text", ["namespaces"])
            found = self.nodes.mapping(top["namespaces"].value, "namespaces")
            others = [name for name in found if name != namespace]
            if others or namespace not in found:
                said = ", ".join(map(repr, others)) or "none"
                self.nodes.mistake(root, f"the text: must be about namespace {namespace!r} alone, not {said}")
                return Rules()
            entry = found[namespace]
        return self._rules({namespace: entry})

    def _root(self, content: bytes) -> Node | None:
        if len(content) > MAX_FILE_BYTES:
            self.nodes.mistake(1, f"the file is larger than {MAX_FILE_BYTES:,} bytes")
            return None
        return self.nodes.parse(content)

    def _rules(self, entries: Mapping[str, Entry]) -> Rules:
        namespaces = {name: self._namespace(name, entry) for name, entry in entries.items()}
        return Rules(namespaces, self._extras.costs, self._extras.bypasses)

    def _namespace(self, name: str, entry: Entry) -> list[Rule]:
        if not NAMESPACE.fullmatch(name):
            self.nodes.mistake(entry.key, f"namespace {name!r}: must match {NAMESPACE.pattern}")
        content = self.nodes.mapping(entry.value, f"namespace {name}", ["rules", *EXTRAS])
        self._extras.read(name, content)
        if "rules" not in content:
            self.nodes.mistake(entry.key, f"namespace {name}: 'rules' is missing")
            return []
        items = self.nodes.sequence(content["rules"].value, f"namespace {name}: rules")
        if len(items) > MAX_RULES:
            self.nodes.mistake(items[MAX_RULES], f"namespace {name}: at most {MAX_RULES} rules")
        lines: dict[str, int] = {}
        groups = [self._rule(name, item, lines) for item in items[:MAX_RULES]]
        most = sum(map(_most_met, groups))
        if len(items) <= MAX_RULES < most:
            self.nodes.mistake(entry.key, f"namespace {name}: at most {MAX_RULES} limits, not {most}")
        return [rule for group in groups for rule in group]

    def _rule(self, namespace: str, node: Node, lines: dict[str, int]) -> list[Rule]:
        """A rule for each of its limits; none after a mistake."""
        before = len(self.nodes.mistakes)
        fields = self.nodes.mapping(node, "a rule", RULE_KEYS)
        if len(self.nodes.mistakes) > before and not fields:
            return []
        missing = [key for key in REQUIRED if key not in fields]
        if missing:
            self.nodes.mistake(node, f"a rule: {', '.join(map(repr, missing))} missing")
        name = self._name(fields.get("name"), lines)
        match = self._match(fields["match"].value) if "match" in fields else ()
        failure = self._failure(fields)
        shadow = "shadow" in fields and self.nodes.boolean(fields["shadow"].value, "shadow") is True
        counting = self._counting(fields)
        upstream = self.nodes.choice(fields["upstream"].value, "upstream", UPSTREAM) if "upstream" in fields else ""

        scope = self.nodes.choice(fields["scope"].value, "scope", SCOPES) if "scope" in fields else ""
        learns = upstream != "ignore"

        def rules_of(windows: Sequence[Window]) -> list[Rule]:
            return [
                Rule(
                    namespace,
                    name + window.suffix,
                    match,
                    window.params,
                    failure,
                    shadow,
                    counting,
                    learns,
                    platform=scope == "platform",
                )
                for window in windows
            ]

        windows = self._limits.read(fields, node)
        if windows == [] and "limit" in fields:
            self.nodes.mistake(fields["limit"].value, "limit: unlimited is for overrides; leave the rule out")
        overrides = self._overrides(fields, rules_of)
        if scope == "platform" and any(each.tenant.text != "*" and each.rules for each in overrides):
            message = (
                "overrides: all tenants share the bucket of a platform rule; a tenant's own limit can only be unlimited"
            )
            self.nodes.mistake(fields["overrides"].key, message)
        if windows is None or len(self.nodes.mistakes) > before:
            return []
        # The first of a rule's limits stands for all of them where an override fits; the others give way.
        giving_way = [replace(override, rules=()) for override in overrides]
        return [
            replace(rule, overrides=giving_way if index else overrides) for index, rule in enumerate(rules_of(windows))
        ]

    def _overrides(
        self, fields: Mapping[str, Entry], rules_of: Callable[[Sequence[Window]], list[Rule]]
    ) -> list[Override]:
        items = self.nodes.sequence(fields["overrides"].value, "overrides") if "overrides" in fields else []
        if len(items) > MAX_OVERRIDES:
            self.nodes.mistake(items[MAX_OVERRIDES], f"overrides: at most {MAX_OVERRIDES}")
        overrides = []
        for node in items[:MAX_OVERRIDES]:
            own = self.nodes.mapping(node, "an override", OVERRIDE_KEYS)
            if own and not own.keys() & {"tenant", "match"}:
                self.nodes.mistake(node, "an override: 'tenant' or 'match' is missing: whom is it for?")
            tenant = self._pattern(own["tenant"].value, "tenant") if "tenant" in own else Pattern("*")
            match = self._match(own["match"].value) if "match" in own else ()
            keys = (*KINDS, "per") if _is_number(own.get("limit")) else KINDS
            inherited = {key: fields[key] for key in keys if key in fields}
            windows = self._limits.read({**inherited, **own}, node) if own else None
            if tenant is not None and windows is not None:
                overrides.append(Override(tenant, match, rules_of(windows)))
        return overrides

    def _counting(self, fields: Mapping[str, Entry]) -> bool:
        if "count_denied" not in fields:
            return False
        algorithm = fields["algorithm"].value.value if "algorithm" in fields else ""
        if algorithm in (*STATES, "leaky_bucket"):
            self.nodes.mistake(fields["count_denied"].key, f"count_denied: not with algorithm {algorithm}")
        return self.nodes.boolean(fields["count_denied"].value, "count_denied") is True

    def _failure(self, fields: Mapping[str, Entry]) -> OnStoreFailure:
        word = FAILURES[0]
        if "on_store_failure" in fields:
            word = self.nodes.choice(fields["on_store_failure"].value, "on_store_failure", FAILURES) or word
        return OnStoreFailure[word.upper()]

    def _name(self, entry: Entry | None, lines: dict[str, int]) -> str:
        name = entry and self.nodes.text(entry.value, "name", f"text that matches {NAMESPACE.pattern}")
        if not entry or name is None:
            return ""
        if not NAMESPACE.fullmatch(name):
            self.nodes.mistake(entry.value, f"name: must match {NAMESPACE.pattern}, not {name!r}")
        elif name in lines:
            self.nodes.mistake(entry.value, f"name: {name!r} is taken by the rule in line {lines[name]}")
        lines.setdefault(name, entry.value.start_mark.line + 1)
        return name

    def _match(self, node: Node) -> Match:
        entries = self.nodes.mapping(node, "match")
        if len(entries) > MAX_KEYS:
            self.nodes.mistake(node, f"match: at most {MAX_KEYS} keys")
        pairs = []
        for key, entry in entries.items():
            if not DESCRIPTOR_KEY.fullmatch(key):
                self.nodes.mistake(entry.key, f"match: a key must match {DESCRIPTOR_KEY.pattern}, not {key!r}")
            pattern = self._pattern(entry.value, f"match: {key}")
            if pattern is not None:
                pairs.append((key, pattern))
        return tuple(sorted(pairs, key=lambda pair: pair[0]))

    def _pattern(self, node: Node, what: str) -> Pattern | None:
        value = self.nodes.text(node, what, 'a value, a pattern, or "*" for any')
        if value is None:
            return None
        if not 1 <= len(value.encode()) <= MAX_VALUE_BYTES:
            self.nodes.mistake(node, f"{what}: must be 1 to {MAX_VALUE_BYTES} bytes long")
            return None
        try:
            return Pattern(value)
        except ValueError:
            self.nodes.mistake(node, f"{what}: {value!r} means nothing: {SYNTAX}")
            return None


def _most_met(group: Sequence[Rule]) -> int:
    """How many of a rule's limits, or of those that an override has in their place, one request can meet."""
    return max((len(group), *(len(override.rules) for rule in group for override in rule.overrides)), default=0)


def _is_number(entry: Entry | None) -> bool:
    return entry is not None and isinstance(entry.value, ScalarNode) and entry.value.value.replace("_", "").isdigit()
