"""Versions of rules in this process, for a limiter without Redis."""

from __future__ import annotations

from collections.abc import Callable

from headworks_limiter.domain.versions import KEPT, MAX_NAMESPACES, Draft, RuleVersion, Snapshot
from headworks_limiter.store.memory import wall_clock_us
from headworks_limiter.store.rule_versions import CHANGED, PUT, TOO_MANY, accepted


class MemoryRuleVersions:
    """As `store/rule_versions.py`; gone when the process ends."""

    def __init__(self, *, now_us: Callable[[], int] = wall_clock_us) -> None:
        self._now_us = now_us
        self._version = 0
        self._kept: dict[str, list[RuleVersion]] = {}
        """By namespace, the latest last."""

    async def read(self, known: str) -> Snapshot | None:
        """The latest versions; None: nothing has changed since the snapshot with this mark."""
        mark = str(self._version or "")
        if mark and mark == known:
            return None
        return Snapshot(mark, {namespace: versions[-1] for namespace, versions in self._kept.items()})

    async def put(self, namespace: str, draft: Draft, expected: int | None) -> int:
        """Make this the latest version; see RedisRuleVersions."""
        return accepted(namespace, *self._put(namespace, draft, expected))

    async def history(self, namespace: str) -> list[RuleVersion]:
        """The versions that are kept, the latest first."""
        return self._kept.get(namespace, [])[::-1]

    def _put(self, namespace: str, draft: Draft, expected: int | None) -> tuple[int, int]:
        versions = self._kept.get(namespace, [])
        latest = versions[-1].version if versions else 0
        if versions and (versions[-1].draft.text, versions[-1].draft.deleted) == (draft.text, draft.deleted):
            return PUT, latest
        if expected is not None and expected != latest:
            return CHANGED, latest
        if not versions and len(self._kept) >= MAX_NAMESPACES:
            return TOO_MANY, 0
        self._version += 1
        made = RuleVersion(namespace, self._version, self._now_us(), draft)
        self._kept[namespace] = [*versions, made][-KEPT:]
        return PUT, self._version
