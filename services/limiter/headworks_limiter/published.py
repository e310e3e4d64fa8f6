"""The rules that the admin API has put, as this replica has read them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog
from headworks_core.errors import ServiceError

from headworks_limiter import rules
from headworks_limiter.domain.versions import Draft, RuleVersion, Snapshot
from headworks_limiter.rules import Rules, RulesError

log = structlog.get_logger(__name__)


class RuleVersions(Protocol):
    """A store of versions that all replicas share. Every method raises Unavailable when it cannot be asked."""

    async def read(self, known: str) -> Snapshot | None:
        """The latest versions; None: nothing has changed since the snapshot with this mark."""

    async def put(self, namespace: str, draft: Draft, expected: int | None) -> int:
        """Make this the latest version; returns its number."""

    async def history(self, namespace: str) -> Sequence[RuleVersion]:
        """The versions that are kept, the latest first."""


class PublishedRules:
    """Keeps the last good rules of each namespace while the store is away, or has what this release cannot read."""

    def __init__(self, versions: RuleVersions) -> None:
        self._versions = versions
        self._snapshot = Snapshot()
        self._away = False
        self.lost = False
        """The store had rules and has none now; the last ones stay in use."""
        self.rules: dict[str, Rules] = {}
        """By namespace, those in use."""
        self.faults: dict[str, str] = {}
        """By namespace, why its latest version is not in use here."""

    @property
    def version(self) -> int:
        """The latest that was read; 0: there is none."""
        return max((each.version for each in self._snapshot.versions.values()), default=0)

    @property
    def current(self) -> bool:
        """Whether the rules in use are those that the store had when it was last asked."""
        return not (self.faults or self.lost)

    def latest(self, namespace: str) -> RuleVersion | None:
        """The latest version of one namespace."""
        return self._snapshot.versions.get(namespace)

    @property
    def namespaces(self) -> frozenset[str]:
        """Those that have or had rules of the API."""
        return frozenset(self._snapshot.versions)

    async def refresh(self) -> bool:
        """Read what has changed; whether anything has. Raises Unavailable."""
        found = await self._versions.read(self._snapshot.mark)
        if found is None or found.mark == self._snapshot.mark:
            return False
        if not found.mark:
            if not self.lost:
                log.error("rules.lost", kept="the last ones", namespaces=sorted(self.rules))
            changed, self.lost = not self.lost, True
            return changed
        before, self._snapshot, self.lost = self._snapshot, found, False
        for namespace in before.versions.keys() - found.versions.keys():  # another store's, or one that began anew
            self.rules.pop(namespace, None)
            self.faults.pop(namespace, None)
        for namespace, version in found.versions.items():
            if version != before.versions.get(namespace):
                await self._use(namespace, version)
        return True

    async def look(self) -> bool:
        """`refresh`, but a store that is away is only logged, once."""
        try:
            changed = await self.refresh()
        except ServiceError as error:
            if not self._away:
                log.warning("rules.store_away", kept="the last good ones", error=error.message)
            self._away = True
            return False
        self._away = False
        return changed

    async def _use(self, namespace: str, version: RuleVersion) -> None:
        self.faults.pop(namespace, None)
        if version.draft.deleted:
            self.rules.pop(namespace, None)
            log.info("rules.deleted", namespace=namespace, version=version.version, author=version.draft.author)
            return
        try:
            self.rules[namespace] = await parsed(namespace, version.draft.text)
        except RulesError as error:
            self.faults[namespace] = f"version {version.version}: {error.mistakes[0].message}"
            first = str(error.mistakes[0])
            log.error("rules.bad", namespace=namespace, version=version.version, kept="the last good ones", first=first)
        else:
            log.info("rules.put", namespace=namespace, version=version.version, author=version.draft.author)


async def parsed(namespace: str, text: str) -> Rules:
    """The rules in a text. Raises RulesError with all its mistakes."""
    return await asyncio.to_thread(rules.parse_one, namespace, text.encode(), path=namespace)
