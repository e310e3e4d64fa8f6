"""The operators' client of the limiter: which rules hold, and what have they said?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from headworks.limiter.v1 import admin_service_pb2 as pb
from headworks.limiter.v1.admin_service_pb2_grpc import LimiterAdminServiceStub

from headworks_client.channel import Connection
from headworks_client.decisions import RuleExplanation
from headworks_client.rules import Inspection, NamespaceRules, ReplicaCounts, RuleMistake, RulesText

_SERVICE = "headworks.limiter.v1.LimiterAdminService"


class LimiterAdminCalls:
    """The calls, for the asyncio client and for the blocking one. Nothing but the connection's `call` is awaited."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(self) -> None:
        """Make it usable."""
        self._stub = LimiterAdminServiceStub(self._connection.open())

    async def inspect(self, namespace: str, descriptors: Mapping[str, str]) -> Inspection:
        """What every rule of a namespace makes of a request, what it costs, and who lets it past. Changes nothing."""
        request = pb.ExplainRulesRequest(namespace=namespace, descriptors=descriptors)
        reply = await self._connection.call(self._stub.ExplainRules, f"{_SERVICE}/ExplainRules", request)
        return Inspection(tuple(map(RuleExplanation.from_proto, reply.rules)), reply.permits, reply.bypass)

    async def list_rules(self) -> list[NamespaceRules]:
        """The namespaces in use on the replica that answers, by name."""
        request = pb.ListRulesRequest()
        reply = await self._connection.call(self._stub.ListRules, f"{_SERVICE}/ListRules", request)
        return [NamespaceRules.from_proto(rules) for rules in reply.namespaces]

    async def get_rules(self, namespace: str, version: int = 0) -> RulesText:
        """One namespace's rules as text: those in use, or an earlier version of the API. Raises NotFound."""
        request = pb.GetRulesRequest(namespace=namespace, version=version)
        return RulesText.from_proto(await self._connection.call(self._stub.GetRules, f"{_SERVICE}/GetRules", request))

    async def validate_rules(self, namespace: str, text: str) -> list[RuleMistake]:
        """What is wrong with a text; empty: `set_rules` would take it."""
        request = pb.ValidateRulesRequest(namespace=namespace, text=text)
        reply = await self._connection.call(self._stub.ValidateRules, f"{_SERVICE}/ValidateRules", request)
        return _mistakes(reply.mistakes)

    async def set_rules(
        self,
        namespace: str,
        text: str = "",
        *,
        restore_version: int = 0,
        expected_version: int | None = None,
        comment: str = "",
    ) -> int:
        """Put one namespace's rules, as text or as an earlier version; returns their version.

        Raises InvalidArgument (RULES_INVALID), FailedPrecondition (RULES_CHANGED) where `expected_version` (0: none)
        is not the latest, NotFound (RULES_NOT_FOUND).
        """
        request = pb.SetRulesRequest(
            namespace=namespace,
            text=text,
            restore_version=restore_version,
            expected_version=expected_version,
            comment=comment,
        )
        return (await self._connection.call(self._stub.SetRules, f"{_SERVICE}/SetRules", request)).version

    async def delete_rules(self, namespace: str, *, expected_version: int | None = None, comment: str = "") -> int:
        """Take back what was put, so that the file's rules hold again; returns the version that says so. NotFound."""
        request = pb.DeleteRulesRequest(namespace=namespace, expected_version=expected_version, comment=comment)
        return (await self._connection.call(self._stub.DeleteRules, f"{_SERVICE}/DeleteRules", request)).version

    async def reload_rules(self) -> list[RuleMistake]:
        """Make the replica that answers read its file and the store now; what is wrong with the file."""
        request = pb.ReloadRulesRequest()
        reply = await self._connection.call(self._stub.ReloadRules, f"{_SERVICE}/ReloadRules", request)
        return _mistakes(reply.mistakes)

    async def count_decisions(self) -> ReplicaCounts:
        """What each rule has said on the replica that answers, since it began."""
        request = pb.CountDecisionsRequest()
        reply = await self._connection.call(self._stub.CountDecisions, f"{_SERVICE}/CountDecisions", request)
        return ReplicaCounts.from_proto(reply)


class LimiterAdminClient(LimiterAdminCalls):
    """Reads and changes rules. Use it as an async context manager.

    Every method raises the kinds of `headworks_core.errors`. All may be repeated.
    """

    def __init__(self, target: str, *, tenant: str = "default", timeout_s: float = 5.0) -> None:
        super().__init__(Connection(target, tenant=tenant, timeout_s=timeout_s))

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()


def _mistakes(mistakes: Iterable[pb.RuleMistake]) -> list[RuleMistake]:
    return [RuleMistake(mistake.line, mistake.message) for mistake in mistakes]
