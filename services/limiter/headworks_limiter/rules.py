"""The rules file: docs/limiter.md is its reference. All its mistakes are found at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from headworks_core.errors import InvalidArgument
from headworks_core.names import NAMESPACE
from yaml.nodes import Node

from headworks_limiter.domain import periods
from headworks_limiter.domain.algorithms import Params
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import MAX_UNITS, Gcra
from headworks_limiter.domain.periods import Period
from headworks_limiter.domain.rule import ANY, OnStoreFailure, Rule, Rules
from headworks_limiter.domain.sliding_window_counter import SlidingWindowCounter
from headworks_limiter.domain.sliding_window_log import MAX_LIMIT as MAX_LOGGED
from headworks_limiter.domain.sliding_window_log import SlidingWindowLog
from headworks_limiter.domain.token_bucket import TokenBucket
from headworks_limiter.yaml_nodes import Entry, Mistake, Nodes

__all__ = ["Mistake", "Rules", "RulesError", "load", "parse"]

MAX_FILE_BYTES = 1 << 20
MAX_RULES = 64
"""Per namespace, and so the most that one request can meet."""
MAX_KEYS = 16
MAX_LIMIT = 1_000_000_000_000
MAX_VALUE_BYTES = 256
DESCRIPTOR_KEY = re.compile(r"[a-z0-9_.-]{1,64}")

RULE_KEYS = ("name", "match", "limit", "per", "algorithm", "burst", "align", "on_store_failure")
REQUIRED = ("name", "match", "limit", "per")
ALGORITHMS = ("gcra", "token_bucket", "fixed_window", "sliding_window_counter", "sliding_window_log")
BURSTS = ("gcra", "token_bucket")
ALIGNMENTS = ("calendar", "first_hit")
FAILURES = tuple(kind.name.lower() for kind in reversed(OnStoreFailure))


class RulesError(InvalidArgument):
    """The rules file cannot be used; `mistakes` has every reason, in the order of lines."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: mistake.line))
        super().__init__("\n".join(map(str, self.mistakes)))


def load(path: str | Path) -> Rules:
    """The rules in a file. Raises RulesError with all its mistakes."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RulesError([Mistake(str(path), 0, f"cannot be read: {error.strerror}")]) from error
    return parse(content, path=str(path))


def parse(content: bytes, *, path: str) -> Rules:
    """The rules in a file's content; `path` is for the messages. Raises RulesError with all its mistakes."""
    file = _RulesFile(Nodes(path))
    rules = file.read(content)
    if file.nodes.mistakes:
        raise RulesError(file.nodes.mistakes)
    return rules


class _RulesFile:
    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes

    def read(self, content: bytes) -> Rules:
        if len(content) > MAX_FILE_BYTES:
            self.nodes.mistake(1, f"the file is larger than {MAX_FILE_BYTES:,} bytes")
            return Rules()
        root = self.nodes.parse(content)
        if root is None:
            return Rules()
        top = self.nodes.mapping(root, "the file", ["namespaces"])
        if "namespaces" not in top:
            self.nodes.mistake(root, "the file: 'namespaces' is missing")
            return Rules()
        found = self.nodes.mapping(top["namespaces"].value, "namespaces")
        return Rules({name: self._namespace(name, entry) for name, entry in found.items()})

    def _namespace(self, name: str, entry: Entry) -> list[Rule]:
        if not NAMESPACE.fullmatch(name):
            self.nodes.mistake(entry.key, f"namespace {name!r}: must match {NAMESPACE.pattern}")
        content = self.nodes.mapping(entry.value, f"namespace {name}", ["rules"])
        if "rules" not in content:
            self.nodes.mistake(entry.key, f"namespace {name}: 'rules' is missing")
            return []
        items = self.nodes.sequence(content["rules"].value, f"namespace {name}: rules")
        if len(items) > MAX_RULES:
            self.nodes.mistake(items[MAX_RULES], f"namespace {name}: at most {MAX_RULES} rules")
        lines: dict[str, int] = {}
        rules = [self._rule(name, item, lines) for item in items[:MAX_RULES]]
        return [rule for rule in rules if rule is not None]

    def _rule(self, namespace: str, node: Node, lines: dict[str, int]) -> Rule | None:
        before = len(self.nodes.mistakes)
        fields = self.nodes.mapping(node, "a rule", RULE_KEYS)
        if len(self.nodes.mistakes) > before and not fields:
            return None
        missing = [key for key in REQUIRED if key not in fields]
        if missing:
            self.nodes.mistake(node, f"a rule: {', '.join(map(repr, missing))} missing")
        name = self._name(fields.get("name"), lines)
        match = self._match(fields["match"].value) if "match" in fields else ()
        params = self._params(fields)
        failure = self._choice(fields, "on_store_failure", FAILURES)
        if params is None or failure is None or len(self.nodes.mistakes) > before:
            return None
        return Rule(namespace, name, match, params, OnStoreFailure[failure.upper()])

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

    def _match(self, node: Node) -> tuple[tuple[str, str], ...]:
        entries = self.nodes.mapping(node, "match")
        if len(entries) > MAX_KEYS:
            self.nodes.mistake(node, f"match: at most {MAX_KEYS} keys")
        pairs = []
        for key, entry in entries.items():
            if not DESCRIPTOR_KEY.fullmatch(key):
                self.nodes.mistake(entry.key, f"match: a key must match {DESCRIPTOR_KEY.pattern}, not {key!r}")
            value = self.nodes.text(entry.value, f"match: {key}", f'a value, or "{ANY}" for any')
            if value is not None:
                self._check_value(entry.value, key, value)
                pairs.append((key, value))
        return tuple(sorted(pairs))

    def _check_value(self, node: Node, key: str, value: str) -> None:
        if not 1 <= len(value.encode()) <= MAX_VALUE_BYTES:
            self.nodes.mistake(node, f"match: {key}: must be 1 to {MAX_VALUE_BYTES} bytes long")
        elif ANY in value and value != ANY:
            self.nodes.mistake(node, f'match: {key}: "{ANY}" stands alone (any value); there are no patterns')

    def _params(self, fields: dict[str, Entry]) -> Params | None:
        limit = self._integer(fields, "limit", MAX_LIMIT)
        burst = self._integer(fields, "burst", MAX_LIMIT)
        period = self._period(fields)
        algorithm = self._choice(fields, "algorithm", ALGORITHMS)
        align = self._choice(fields, "align", ALIGNMENTS)
        if algorithm is None or align is None:
            return None
        if algorithm not in BURSTS and "burst" in fields:
            self.nodes.mistake(fields["burst"].key, f"burst: only for algorithm {' and '.join(BURSTS)}")
        if algorithm != "fixed_window" and "align" in fields:
            self.nodes.mistake(fields["align"].key, "align: only for algorithm fixed_window")
        if not limit or not period:
            return None
        if algorithm == "fixed_window":
            return FixedWindow(limit, period, align == "first_hit")
        if period.months:
            message = "per: months and years have no fixed length; use days, or algorithm fixed_window"
            self.nodes.mistake(fields["per"].value, message)
            return None
        if algorithm == "sliding_window_log":
            return self._log(fields, limit, period)
        if algorithm == "sliding_window_counter":
            return SlidingWindowCounter(limit, period.us)
        if algorithm == "token_bucket":
            return self._token_bucket(fields, limit, period, burst)
        return self._gcra(fields, limit, period, burst)

    def _log(self, fields: dict[str, Entry], limit: int, period: Period) -> SlidingWindowLog | None:
        if limit > MAX_LOGGED:
            message = f"limit: at most {MAX_LOGGED:,} with algorithm sliding_window_log, which remembers every grant"
            self.nodes.mistake(fields["limit"].value, message)
            return None
        return SlidingWindowLog(limit, period.us)

    def _token_bucket(
        self, fields: dict[str, Entry], limit: int, period: Period, burst: int | None
    ) -> TokenBucket | None:
        params = TokenBucket(limit, period.us, burst or limit)
        if params.exact:
            return params
        message = f"burst: {params.burst:,} would take longer than 71 years to come back at {limit:,} a period"
        self.nodes.mistake(fields["burst"].value, message)
        return None

    def _gcra(self, fields: dict[str, Entry], limit: int, period: Period, burst: int | None) -> Gcra | None:
        params = Gcra(limit, period.us, burst or limit)
        if params.exact:
            return params
        most = max(1, MAX_UNITS // params.permit_units)
        message = (
            f"limit: {limit:,} with burst {params.burst:,} cannot be counted exactly over this period; "
            f"use a rounder limit (one that divides the period), or a burst of at most {most:,}"
        )
        self.nodes.mistake(fields["limit"].value, message)
        return None

    def _integer(self, fields: dict[str, Entry], key: str, high: int) -> int | None:
        return self.nodes.integer(fields[key].value, key, 1, high) if key in fields else None

    def _choice(self, fields: dict[str, Entry], key: str, allowed: Sequence[str]) -> str | None:
        """The word chosen, the first one where nothing is said, None after a mistake."""
        return self.nodes.choice(fields[key].value, key, allowed) if key in fields else allowed[0]

    def _period(self, fields: dict[str, Entry]) -> Period | None:
        if "per" not in fields:
            return None
        node = fields["per"].value
        text = self.nodes.text(node, "per", periods.SYNTAX)
        period = periods.parse(text) if text is not None else None
        if text is not None and period is None:
            self.nodes.mistake(node, f"per: must be {periods.SYNTAX}, not {text!r}")
        return period
