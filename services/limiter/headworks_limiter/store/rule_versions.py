"""Versions of rules in Redis, in one key that belongs to no cell."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Coroutine, Sequence
from typing import Any

from headworks_core import scripts
from headworks_core.errors import FailedPrecondition, Reason, ResourceExhausted, Unavailable
from headworks_core.store import store_errors

from headworks_limiter.domain.versions import KEPT, MAX_NAMESPACES, Draft, RuleVersion, Snapshot
from headworks_limiter.store.patience import within

KEY = "hw:limits"
PUT, CHANGED, TOO_MANY = 1, 0, -1


class RedisRuleVersions:
    """By `store/scripts/rules_put.lua` and `rules_read.lua`. Every method raises Unavailable when Redis is away."""

    def __init__(self, redis: scripts.Runs, *, timeout_s: float) -> None:
        self._redis = redis
        self._timeout_s = timeout_s
        self._put = scripts.load("headworks_limiter.store", "rules_put")
        self._read = scripts.load("headworks_limiter.store", "rules_read")

    async def read(self, known: str) -> Snapshot | None:
        """The latest versions; None: nothing has changed since the snapshot with this mark."""
        mark, *fields = map(_text, await self._within(self._read(self._redis, [KEY], [known])))
        if mark and mark == known:
            return None
        found = zip(fields[::3], fields[1::3], fields[2::3], strict=True)
        return Snapshot(mark, {name: _version(name, version, stored) for name, version, stored in found})

    async def put(self, namespace: str, draft: Draft, expected: int | None) -> int:
        """Make this the latest version; returns its number, the present one's if that has the same text.

        Raises FailedPrecondition (RULES_CHANGED), ResourceExhausted (TOO_MANY_NAMESPACES), and Unavailable: the outcome
        is unknown, and putting it again is safe.
        """
        arguments = (namespace, "" if expected is None else expected, _entry(draft), MAX_NAMESPACES, KEPT)
        outcome, version = await self._within(self._put(self._redis, [KEY], arguments))
        return accepted(namespace, int(outcome), int(version))

    async def history(self, namespace: str) -> list[RuleVersion]:
        """The versions that are kept, the latest first."""
        found: list[RuleVersion] = await self._within(self._history(namespace))
        return found

    async def _history(self, namespace: str) -> list[RuleVersion]:
        with store_errors():
            execute = self._redis.execute_command
            numbers = _text(await execute("HGET", KEY, f"{namespace}/") or b"").split()
            if not numbers:
                return []
            stored: Sequence[bytes | None] = await execute("HMGET", KEY, *(f"{namespace}/{n}" for n in numbers))
        pairs = zip(reversed(numbers), reversed(stored), strict=True)
        return [_version(namespace, number, _text(value)) for number, value in pairs if value is not None]

    async def _within(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await within(self._timeout_s, work)
        except TimeoutError as error:
            raise Unavailable("the store did not answer in time") from error


def accepted(namespace: str, outcome: int, version: int) -> int:
    """The version, or the error that the outcome stands for."""
    if outcome == CHANGED:
        message = f"the rules of namespace {namespace} are version {version} by now"
        raise FailedPrecondition(message, reason=Reason.RULES_CHANGED)
    if outcome == TOO_MANY:
        message = f"{MAX_NAMESPACES} namespaces have had rules of the API, and no more may"
        raise ResourceExhausted(message, reason=Reason.TOO_MANY_NAMESPACES)
    return version


def _entry(draft: Draft) -> str:
    return json.dumps(dataclasses.asdict(draft), ensure_ascii=False)


def _version(namespace: str, version: str, stored: str) -> RuleVersion:
    at_us, _, entry = stored.partition(" ")
    return RuleVersion(namespace, int(version), int(at_us), Draft(**json.loads(entry)))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
