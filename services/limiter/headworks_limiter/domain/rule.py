"""Rules: which requests they meet, and where their buckets are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b

from headworks_limiter.domain.algorithms import HELD, REPORTED, Params
from headworks_limiter.domain.bypass import Bypass
from headworks_limiter.domain.costs import Cost
from headworks_limiter.domain.matching import Match, fits, mismatch
from headworks_limiter.domain.patterns import Pattern


class OnStoreFailure(IntEnum):
    """What a rule wants when the store cannot be asked; of several rules the greatest wins."""

    ALLOW = 0
    LOCAL = 1
    """Decide in this process alone, with its share of the limit."""
    DENY = 2
    ERROR = 3


@dataclass(frozen=True, eq=False, slots=True)
class Rule:
    """One rule. Equal to itself only, so that it is a cheap key."""

    namespace: str
    name: str
    match: Match
    params: Params
    on_store_failure: OnStoreFailure = OnStoreFailure.ERROR
    shadow: bool = False
    """It counts and tells, and refuses nothing."""
    count_denied: bool = False
    """Requests that are refused take from it too."""
    learns: bool = True
    """What upstreams are reported to say blocks it."""
    overrides: Sequence[Override] = ()
    """The first that fits stands in for this rule."""
    platform: bool = False
    """All tenants share its buckets, which live in a cell of the namespace's own."""
    id: str = field(init=False)
    """What its buckets are kept under: all of it but the thresholds, so that changing those keeps the buckets."""

    certain: bool = field(init=False)
    """Its refusals hold until their retry_after, whatever others do."""
    near: int = field(init=False)
    """Permits left at which four fifths of a bucket are used."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "certain", not (self.count_denied or isinstance(self.params, (*HELD, *REPORTED))))
        object.__setattr__(self, "near", self.params.capacity // 5)
        object.__setattr__(self, "id", f"{self.namespace}/{self.name}/{self.params.kind}")

    def meets(self, descriptors: Mapping[str, str]) -> bool:
        """Whether all its keys are present with matching values."""
        return fits(self.match, descriptors)

    def mismatch(self, descriptors: Mapping[str, str]) -> str:
        """Why a request does not meet it, in a few words; empty: it does."""
        return mismatch(self.match, descriptors)

    def for_caller(self, tenant: str, descriptors: Mapping[str, str]) -> Sequence[Rule]:
        """What stands for this rule, which meets the request: itself, or what the first override that fits says."""
        for override in self.overrides:
            if override.tenant.fits(tenant) and fits(override.match, descriptors):
                return override.rules
        return (self,)


@dataclass(frozen=True, slots=True)
class Override:
    """Other thresholds for some callers."""

    tenant: Pattern
    match: Match
    rules: Sequence[Rule]
    """In place of the rule; none: unlimited."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One rule's state for one set of values, by the key it is kept under."""

    key: str
    rule: Rule


PLATFORM = "_platform"
"""Stands for the tenant in the keys of what belongs to all of them; no tenant is called so."""


def bucket_key(prefix: str, tenant: str, rule: Rule, descriptors: Mapping[str, str]) -> str:
    """The key of the rule's bucket for these descriptors. No value is in it in clear."""
    return _key(prefix, tenant, rule.id, _digest((key, pattern.named(descriptors[key])) for key, pattern in rule.match))


def record_key(prefix: str, tenant: str, request_id: str) -> str:
    """The key of the record of a grant. No rule's id is `grant`."""
    return _key(prefix, tenant, "grant", request_id)


def reserved_key(prefix: str) -> str:
    """The key of a cell's list of reservations. Its form is known to decide.lua, too."""
    return f"{prefix}:lim:{PLATFORM}:reserved"


def _key(prefix: str, tenant: str, owner: str, tail: str) -> str:
    return f"{prefix}:lim:{tenant}:{owner}:{tail}"


def fingerprint(namespace: str, descriptors: Mapping[str, str], permits: int) -> str:
    """What makes a request another one: a hash of all that it asks for."""
    return _digest([("", namespace), ("", str(permits)), *sorted(descriptors.items())])


def _digest(pairs: Iterable[tuple[str, str]]) -> str:
    """128 bits over the pairs; every part is preceded by its length, so that no two lists look alike."""
    parts: list[bytes] = []
    for pair in pairs:
        for text in pair:
            encoded = text.encode()
            parts += (b"%d:" % len(encoded), encoded)
    return blake2b(b"".join(parts), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of every namespace, in the order of the file, and what else a namespace says."""

    namespaces: Mapping[str, Sequence[Rule]] = field(default_factory=dict)
    costs: Mapping[str, Sequence[Cost]] = field(default_factory=dict)
    bypasses: Mapping[str, Sequence[Bypass]] = field(default_factory=dict)

    @property
    def outlive_the_store(self) -> bool:
        """Whether some rule has an answer of its own for when the store cannot be asked."""
        enforced = (rule for rules in self.namespaces.values() for rule in rules if not rule.shadow)
        return any(rule.on_store_failure is not OnStoreFailure.ERROR for rule in enforced)

    def meeting(self, namespace: str, tenant: str, descriptors: Mapping[str, str]) -> list[Rule] | None:
        """The rules that a tenant's request meets; None: there is no such namespace."""
        rules = self.namespaces.get(namespace)
        if rules is None:
            return None
        met = (rule.for_caller(tenant, descriptors) for rule in rules if rule.meets(descriptors))
        return [rule for rules in met for rule in rules]
