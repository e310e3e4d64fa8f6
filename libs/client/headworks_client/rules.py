"""What the limiter says about its rules, as frozen values."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from enum import StrEnum

from headworks.limiter.v1 import admin_service_pb2 as pb

from headworks_client.decisions import RuleExplanation
from headworks_client.durations import to_seconds


class RuleSource(StrEnum):
    """Where rules in use come from."""

    FILE = "FILE"
    API = "API"


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """One change of a namespace's rules by the API."""

    version: int
    create_time: datetime.datetime
    author: str
    comment: str
    deleted: bool

    @classmethod
    def from_proto(cls, version: pb.RuleVersion) -> RuleVersion:
        """The version as the limiter sent it."""
        at = version.create_time.ToDatetime(datetime.UTC)
        return cls(version.version, at, version.author, version.comment, version.deleted)


@dataclass(frozen=True, slots=True)
class NamespaceRules:
    """A namespace whose rules are in use."""

    namespace: str
    source: RuleSource
    version: RuleVersion | None
    """The latest change by the API, also a deletion."""
    rules: int
    """How many limits it has."""
    file_overridden: bool
    """The file has rules for it too, which are not in use."""
    fault: str
    """Why the latest version is not in use on the replica that answered; empty when it is."""

    @classmethod
    def from_proto(cls, rules: pb.NamespaceRules) -> NamespaceRules:
        """The namespace as the limiter sent it."""
        source = RuleSource.API if rules.source == pb.RULE_SOURCE_API else RuleSource.FILE
        version = RuleVersion.from_proto(rules.version) if rules.HasField("version") else None
        return cls(rules.namespace, source, version, rules.rules, rules.file_overridden, rules.fault)


@dataclass(frozen=True, slots=True)
class RulesText:
    """A namespace's rules as YAML, and what became of them before."""

    rules: NamespaceRules
    text: str
    history: tuple[RuleVersion, ...]
    """The latest first; the last ten are kept."""

    @classmethod
    def from_proto(cls, reply: pb.GetRulesResponse) -> RulesText:
        """The rules as the limiter sent them."""
        history = tuple(map(RuleVersion.from_proto, reply.history))
        return cls(NamespaceRules.from_proto(reply.rules), reply.text, history)


@dataclass(frozen=True, slots=True)
class RuleMistake:
    """One thing that is wrong with a text of rules."""

    line: int
    """From 1; 0 stands for the whole."""
    message: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the rules make of a request."""

    rules: tuple[RuleExplanation, ...]
    permits: int
    """What it costs when the caller does not say."""
    bypass: str
    """The bypass that lets it past all of them now; empty: none does."""


@dataclass(frozen=True, slots=True)
class RuleCount:
    """What one rule has said on one replica since it began."""

    namespace: str
    rule: str
    requests: int
    refused: int
    near_limit: int
    """After which at least 80 % of its bucket was used, and which it did not refuse."""
    shadow_refused: int
    """That it would have refused, were it not on trial."""


@dataclass(frozen=True, slots=True)
class ReplicaCounts:
    """What the rules have said on one replica."""

    replica: str
    uptime_s: float
    """How long it has counted."""
    rules: tuple[RuleCount, ...]

    @classmethod
    def from_proto(cls, reply: pb.CountDecisionsResponse) -> ReplicaCounts:
        """The counts as the limiter sent them."""
        rules = (
            RuleCount(
                count.namespace, count.rule, count.requests, count.refused, count.near_limit, count.shadow_refused
            )
            for count in reply.rules
        )
        return cls(reply.replica, to_seconds(reply.uptime), tuple(rules))
