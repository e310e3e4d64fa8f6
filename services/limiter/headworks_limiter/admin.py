"""LimiterAdminService: what rules make of a request, what they have said, and what the rules are."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence

import structlog
from headworks.limiter.v1 import admin_service_pb2 as pb
from headworks.limiter.v1 import limiter_pb2
from headworks_core.context import CallContext
from headworks_core.errors import NotFound, Reason, Violation, invalid

from headworks_limiter import replies
from headworks_limiter.decider import Decider
from headworks_limiter.domain.ask import Verdict
from headworks_limiter.domain.rule import Rule
from headworks_limiter.requests import Inspection, RequestReader
from headworks_limiter.rule_admin import RuleAdmin

log = structlog.get_logger(__name__)

RULE = re.compile(r"[a-z0-9_-]{1,64}(?:\.[0-9a-z]{1,20})?")
"""A rule as replies name it; after the point the period of one of its limits."""


class LimiterAdminServicer:
    """headworks.limiter.v1.LimiterAdminService."""

    def __init__(self, reader: RequestReader, decider: Decider, rules: RuleAdmin, *, replica: str) -> None:
        self._reader = reader
        self._decider = decider
        self._rules = rules
        self._replica = replica
        self._began_at = time.monotonic()

    async def ExplainRules(self, request: pb.ExplainRulesRequest, caller: CallContext) -> pb.ExplainRulesResponse:
        """What every rule of the namespace makes of the request."""
        ask, permits, bypass = self._inspect(request.namespace, request.descriptors, caller)
        rules = self._reader.rules.namespaces[request.namespace]  # those that were asked for; they may change meanwhile
        verdict = await self._decider.look(ask)
        return pb.ExplainRulesResponse(
            rules=_explained(rules, request.descriptors, caller.tenant, verdict),
            permits=permits,
            bypass="" if bypass is None else bypass.name,
        )

    async def ResetBuckets(self, request: pb.ResetBucketsRequest, caller: CallContext) -> pb.ResetBucketsResponse:
        """Make the buckets of the rules that the request meets full again."""
        if request.rule and not RULE.fullmatch(request.rule):
            raise invalid([Violation("rule", f"must match {RULE.pattern}, or be empty")])
        ask = self._inspect(request.namespace, request.descriptors, caller).ask
        chosen = [bucket for bucket in ask.buckets if request.rule in ("", bucket.rule.name)]
        if request.rule and not chosen:
            message = f"the request meets no rule {request.rule} of namespace {request.namespace}"
            raise NotFound(message, reason=Reason.RULE_NOT_FOUND)
        held = await self._decider.reset([bucket.key for bucket in chosen]) if chosen else 0
        names = [bucket.rule.name for bucket in chosen]
        log.warning("buckets.reset", tenant=caller.tenant, namespace=request.namespace, rules=names, held=held)
        return pb.ResetBucketsResponse(rules=names)

    async def ListRules(self, request: pb.ListRulesRequest, caller: CallContext) -> pb.ListRulesResponse:
        """The namespaces in use."""
        return await self._rules.list()

    async def GetRules(self, request: pb.GetRulesRequest, caller: CallContext) -> pb.GetRulesResponse:
        """The text and the history of one."""
        return await self._rules.get(request)

    async def ValidateRules(self, request: pb.ValidateRulesRequest, caller: CallContext) -> pb.ValidateRulesResponse:
        """All mistakes of a text."""
        return await self._rules.validate(request)

    async def SetRules(self, request: pb.SetRulesRequest, caller: CallContext) -> pb.SetRulesResponse:
        """Put the rules of one namespace."""
        return await self._rules.set(request, caller)

    async def DeleteRules(self, request: pb.DeleteRulesRequest, caller: CallContext) -> pb.DeleteRulesResponse:
        """Take back what was put."""
        return await self._rules.delete(request, caller)

    async def ReloadRules(self, request: pb.ReloadRulesRequest, caller: CallContext) -> pb.ReloadRulesResponse:
        """Read file and store now."""
        return await self._rules.reload()

    async def CountDecisions(self, request: pb.CountDecisionsRequest, caller: CallContext) -> pb.CountDecisionsResponse:
        """What each rule has said so far."""
        reply = pb.CountDecisionsResponse(replica=self._replica)
        reply.uptime.FromMicroseconds(int((time.monotonic() - self._began_at) * 1_000_000))
        for (namespace, rule), count in self._decider.counters.rules.by_name().items():
            reply.rules.add(
                namespace=namespace,
                rule=rule,
                requests=count.requests,
                refused=count.refused,
                near_limit=count.near_limit,
                shadow_refused=count.shadow_refused,
            )
        return reply

    def _inspect(self, namespace: str, descriptors: Mapping[str, str], caller: CallContext) -> Inspection:
        request = limiter_pb2.PermitRequest(namespace=namespace, descriptors=descriptors)
        return self._reader.inspect(request, caller.tenant)


def _explained(
    rules: Sequence[Rule], descriptors: Mapping[str, str], tenant: str, verdict: Verdict
) -> Iterator[pb.RuleExplanation]:
    said = zip(verdict.buckets, verdict.outcomes, strict=True)
    for rule in rules:
        why_not = rule.mismatch(descriptors)
        if why_not:
            yield pb.RuleExplanation(rule=rule.name, why_not=why_not)
            continue
        standing = rule.for_caller(tenant, descriptors)
        if not standing:
            yield pb.RuleExplanation(rule=rule.name, why_not="an override stands for it", overridden=True)
        for other in standing:
            explanation = pb.RuleExplanation(rule=other.name, overridden=other is not rule)
            replies.write_status(explanation.status, *next(said))
            yield explanation
