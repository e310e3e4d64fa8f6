"""The part of LimiterAdminService that reads and changes rules."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from headworks.limiter.v1 import admin_service_pb2 as pb
from headworks_core.context import CallContext
from headworks_core.errors import InvalidArgument, NotFound, Reason, Violation, invalid
from headworks_core.names import NAMESPACE

from headworks_limiter.domain.versions import MAX_TEXT_BYTES, Draft, RuleVersion
from headworks_limiter.published import RuleVersions, parsed
from headworks_limiter.rule_text import text_of
from headworks_limiter.rules import Mistake, RulesError
from headworks_limiter.rules_in_use import RulesInUse

log = structlog.get_logger(__name__)

MAX_COMMENT_BYTES = 500
MAX_MISTAKES = 1_000
MAX_TOLD = 5
"""Mistakes in an error, which travels in the trailers; ValidateRules tells all."""


class RuleAdmin:
    """What the API puts is checked before, recorded in the store, and used here when the call returns."""

    def __init__(self, in_use: RulesInUse, versions: RuleVersions) -> None:
        self._in_use = in_use
        self._versions = versions

    async def list(self) -> pb.ListRulesResponse:
        """The namespaces in use, and those that should be, by name."""
        published = self._in_use.published
        names = sorted(self._in_use.rules.namespaces.keys() | published.faults.keys())
        return pb.ListRulesResponse(namespaces=map(self._namespace, names), version=published.version)

    async def get(self, request: pb.GetRulesRequest) -> pb.GetRulesResponse:
        """The text and the history of one."""
        _check(request.namespace, [_not_negative("version", request.version)])
        history = await self._versions.history(request.namespace)
        if request.version:
            text = _chosen(history, request.namespace, request.version).draft.text
        elif request.namespace not in self._in_use.rules.namespaces:
            raise NotFound(f"namespace {request.namespace} has no rules here", reason=Reason.NAMESPACE_NOT_FOUND)
        else:
            text = await self._text_in_use(request.namespace, history)
        versions = [_version(each) for each in history]
        return pb.GetRulesResponse(rules=self._namespace(request.namespace), text=text, history=versions)

    async def validate(self, request: pb.ValidateRulesRequest) -> pb.ValidateRulesResponse:
        """All mistakes of a text."""
        _check(request.namespace, [_text(request.text)])
        try:
            rules = await parsed(request.namespace, request.text)
        except RulesError as error:
            return pb.ValidateRulesResponse(mistakes=told(error.mistakes))
        return pb.ValidateRulesResponse(rules=len(rules.namespaces[request.namespace]))

    async def set(self, request: pb.SetRulesRequest, caller: CallContext) -> pb.SetRulesResponse:
        """Put a text, or an earlier version's."""
        restores = bool(request.restore_version)
        violations = [
            _comment(request.comment),
            _not_negative("restore_version", request.restore_version),
            "" if restores else _text(request.text),
            "restore_version: not beside text" if restores and request.text else "",
        ]
        expected = request.expected_version if request.HasField("expected_version") else None
        _check(request.namespace, [*violations, _not_negative("expected_version", expected or 0)])
        text = await self._restored(request) if restores else request.text
        try:
            rules = await parsed(request.namespace, text)
        except RulesError as error:
            raise _refused(error) from None
        version = await self._put(request.namespace, Draft(text, caller.principal, request.comment), expected)
        limits = len(rules.namespaces[request.namespace])
        log.warning("rules.set", namespace=request.namespace, version=version, author=caller.principal, rules=limits)
        return pb.SetRulesResponse(version=version)

    async def delete(self, request: pb.DeleteRulesRequest, caller: CallContext) -> pb.DeleteRulesResponse:
        """Back to the file's rules."""
        expected = request.expected_version if request.HasField("expected_version") else None
        _check(request.namespace, [_comment(request.comment), _not_negative("expected_version", expected or 0)])
        if not await self._versions.history(request.namespace):
            message = f"namespace {request.namespace} has no rules of the API"
            raise NotFound(message, reason=Reason.RULES_NOT_FOUND)
        draft = Draft("", caller.principal, request.comment, deleted=True)
        version = await self._put(request.namespace, draft, expected)
        log.warning("rules.delete", namespace=request.namespace, version=version, author=caller.principal)
        return pb.DeleteRulesResponse(version=version)

    async def reload(self) -> pb.ReloadRulesResponse:
        """Read everything now."""
        mistakes = await self._in_use.reload()
        return pb.ReloadRulesResponse(mistakes=told(mistakes), version=self._in_use.published.version)

    async def _put(self, namespace: str, draft: Draft, expected: int | None) -> int:
        version = await self._versions.put(namespace, draft, expected)
        await self._in_use.look()
        return version

    async def _restored(self, request: pb.SetRulesRequest) -> str:
        history = await self._versions.history(request.namespace)
        chosen = _chosen(history, request.namespace, request.restore_version)
        if chosen.draft.deleted:
            raise invalid([Violation("restore_version", "is a deletion; use DeleteRules")])
        return chosen.draft.text

    async def _text_in_use(self, namespace: str, history: Sequence[RuleVersion]) -> str:
        latest = self._in_use.published.latest(namespace)
        if namespace not in self._in_use.published.rules or latest is None:
            return await asyncio.to_thread(text_of, self._in_use.book.content, namespace)
        return latest.draft.text

    def _namespace(self, name: str) -> pb.NamespaceRules:
        published, file = self._in_use.published, self._in_use.book.rules
        latest = published.latest(name)
        of_api = name in published.rules
        return pb.NamespaceRules(
            namespace=name,
            source=pb.RULE_SOURCE_FILE if name in file.namespaces and not of_api else pb.RULE_SOURCE_API,
            version=None if latest is None else _version(latest),
            rules=len(self._in_use.rules.namespaces.get(name, ())),
            file_overridden=of_api and name in file.namespaces,
            fault=published.faults.get(name, "")[:MAX_COMMENT_BYTES],
        )


def told(mistakes: Sequence[Mistake]) -> list[pb.RuleMistake]:
    """Mistakes as a reply has them."""
    return [pb.RuleMistake(line=mistake.line, message=mistake.message) for mistake in mistakes[:MAX_MISTAKES]]


def _version(version: RuleVersion) -> pb.RuleVersion:
    at, draft = Timestamp(), version.draft
    at.FromMicroseconds(version.at_us)
    return pb.RuleVersion(
        version=version.version, create_time=at, author=draft.author, comment=draft.comment, deleted=draft.deleted
    )


def _chosen(history: Sequence[RuleVersion], namespace: str, version: int) -> RuleVersion:
    for each in history:
        if each.version == version:
            return each
    kept = ", ".join(str(each.version) for each in history) or "none"
    message = f"version {version} of namespace {namespace} is not kept; there are {kept}"
    raise NotFound(message, reason=Reason.RULES_NOT_FOUND)


def _refused(error: RulesError) -> InvalidArgument:
    first = [f"line {mistake.line}: {mistake.message}"[:200] for mistake in error.mistakes[:MAX_TOLD]]
    count = len(error.mistakes)
    message = f"{count} mistake{'s' if count > 1 else ''}; {'; '.join(first)}"
    violations = [Violation("text", mistake) for mistake in first]
    return InvalidArgument(message, reason=Reason.RULES_INVALID, violations=violations)


def _check(namespace: str, rules: Sequence[str]) -> None:
    """Raises InvalidArgument for the namespace and for every "field: rule" that is not empty."""
    found = [rule for rule in rules if rule]
    if not NAMESPACE.fullmatch(namespace):
        found.insert(0, f"namespace: must match {NAMESPACE.pattern}")
    if found:
        raise invalid([Violation(*rule.split(": ", 1)) for rule in found])


def _text(text: str) -> str:
    good = 1 <= len(text.encode()) <= MAX_TEXT_BYTES
    return "" if good else f"text: must be 1 to {MAX_TEXT_BYTES:,} bytes long"


def _comment(comment: str) -> str:
    return "" if len(comment.encode()) <= MAX_COMMENT_BYTES else f"comment: at most {MAX_COMMENT_BYTES} bytes"


def _not_negative(field: str, number: int) -> str:
    return f"{field}: must not be negative" if number < 0 else ""
