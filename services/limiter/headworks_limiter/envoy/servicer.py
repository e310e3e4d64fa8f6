"""ShouldRateLimit: request and caller in, reply out; nothing here knows the transport but its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import grpc
from headworks.limiter.envoy.v1 import rate_limit_pb2 as pb
from headworks_core.cells import Meta
from headworks_core.context import CallContext
from headworks_core.errors import ServiceError, Violation, invalid
from headworks_core.measures import Tally

from headworks_limiter.envoy.answers import Judged, Manner, answer
from headworks_limiter.envoy.counting import Counting
from headworks_limiter.envoy.limits import Domains, Found, Limit, Pair, counter_key, replaced
from headworks_limiter.envoy.windows import MAX_COUNT, Hit, Unit

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
METHOD = "ShouldRateLimit"
MAX_DESCRIPTORS = 200
MAX_ENTRIES = 64
"""A descriptor."""
MAX_REMEMBERED = 8192
UNITS = frozenset(int(unit) for unit in Unit)

Planned = tuple[Limit, str]
"""The limit of a descriptor and the key of its counter; no key: unlimited."""


class Tallies:
    """What was answered, since the start. Labels are names of the rules."""

    def __init__(self) -> None:
        self.requests = Tally()
        """By domain and outcome: ok, over_limit, unlimited (no limit applies), shadow, error; domain "": unknown."""
        self.exceeded = Tally()
        """Descriptors whose limit is exceeded, by domain, rule and mode: enforced, quota, shadow."""


class RateLimitServicer:
    """envoy.service.ratelimit.v3.RateLimitService."""

    def __init__(self, domains: Domains, counting: Counting, meta: Meta, manner: Manner, *, enabled: bool) -> None:
        """`enabled` is False to allow everything and ask nobody."""
        self._domains = domains
        self._counting = counting
        self._meta = meta
        self._manner = manner
        self._enabled = enabled
        self._plans: dict[tuple[str, str, tuple[Pair, ...]], Planned | None] = {}
        self.tallies = Tallies()

    def use(self, domains: Domains) -> None:
        """From the next request on these rules hold. Counters stay."""
        self._domains = domains
        self._plans = {}

    async def ShouldRateLimit(
        self, request: pb.ShouldRateLimitRequest, caller: CallContext
    ) -> pb.ShouldRateLimitResponse:
        """Count every descriptor, and say which limits are exceeded."""
        _check(request)
        if request.domain not in self._domains.by_name:
            self.tallies.requests["", "unlimited"] += 1
            return answer(request, [Judged(descriptor, None, None) for descriptor in request.descriptors], self._manner)
        judged = await self._judge(request, caller)
        reply = answer(request, judged, self._manner)
        self._tell(request.domain, judged, reply)
        return reply

    async def _judge(self, request: pb.ShouldRateLimitRequest, caller: CallContext) -> list[Judged]:
        plans = self._plan_all(request, caller.tenant) if self._enabled else [None] * len(request.descriptors)
        hits = [
            _hit(request, descriptor, plan)
            for descriptor, plan in zip(request.descriptors, plans, strict=True)
            if plan is not None and plan[1]
        ]
        try:
            counts = iter(await self._counting.count(self._meta.cell_of(caller.tenant), hits, caller))
        except ServiceError:
            self.tallies.requests[request.domain, "error"] += 1
            raise
        return [
            Judged(descriptor, plan[0] if plan else None, next(counts) if plan and plan[1] else None)
            for descriptor, plan in zip(request.descriptors, plans, strict=True)
        ]

    def _plan_all(self, request: pb.ShouldRateLimitRequest, tenant: str) -> list[Planned | None]:
        """By descriptor; None: no limit, or another one replaces it."""
        plans = [self._plan(request.domain, descriptor, tenant) for descriptor in request.descriptors]
        gone = replaced(plan[0] for plan in plans if plan is not None)
        if not gone:
            return plans
        return [
            None if plan is not None and plan[0].unit is not None and plan[0].name in gone else plan for plan in plans
        ]

    def _plan(self, domain: str, descriptor: pb.Descriptor, tenant: str) -> Planned | None:
        entries = tuple((entry.key, entry.value) for entry in descriptor.entries)
        if descriptor.HasField("limit"):
            limit = Limit(descriptor.limit.requests_per_unit, Unit(descriptor.limit.unit))
            return self._keyed(Found(limit, entries), domain, tenant)
        place = (tenant, domain, entries)
        if place in self._plans:
            return self._plans[place]
        found = self._domains.find(domain, entries)
        planned = None if found is None else self._keyed(found, domain, tenant)
        if len(self._plans) >= MAX_REMEMBERED:
            self._plans.clear()
        self._plans[place] = planned
        return planned

    def _keyed(self, found: Found, domain: str, tenant: str) -> Planned:
        unit = found.limit.unit
        if unit is None:
            return found.limit, ""
        prefix = self._meta.prefix(self._meta.cell_of(tenant))
        return found.limit, counter_key(prefix, tenant, domain, unit, found.entries)

    def _tell(self, domain: str, judged: Sequence[Judged], reply: pb.ShouldRateLimitResponse) -> None:
        exceeded = [each for each in judged if each.exceeded and each.limit is not None]
        for each in exceeded:
            limit = each.limit
            if limit is not None:
                quota = limit.quota or self._manner.quota
                mode = "shadow" if limit.shadow or self._manner.shadow else "quota" if quota else "enforced"
                self.tallies.exceeded[domain, limit.rule, mode] += 1
        if reply.overall_code == pb.CODE_OVER_LIMIT:
            outcome = "over_limit"
        elif any(each.counted is not None for each in judged):
            outcome = "shadow" if exceeded else "ok"
        else:
            outcome = "unlimited" if self._enabled else "bypassed"
        self.tallies.requests[domain, outcome] += 1


def add_to_server(servicer: RateLimitServicer, server: Any) -> None:
    """What generated code would be, under the name that Envoy calls."""
    handler = grpc.unary_unary_rpc_method_handler(
        servicer.ShouldRateLimit,
        request_deserializer=pb.ShouldRateLimitRequest.FromString,
        response_serializer=pb.ShouldRateLimitResponse.SerializeToString,
    )
    server.add_registered_method_handlers(SERVICE, {METHOD: handler})


def _hit(request: pb.ShouldRateLimitRequest, descriptor: pb.Descriptor, plan: Planned) -> Hit:
    limit, key = plan
    said = descriptor.hits_addend.value if descriptor.HasField("hits_addend") else max(request.hits_addend, 1)
    if limit.unit is None:
        raise ValueError("what is unlimited is not counted")
    return Hit(key, limit.unit, min(said, MAX_COUNT), descriptor.is_negative_hits)


def _check(request: pb.ShouldRateLimitRequest) -> None:
    """Raises InvalidArgument with all the fields at fault."""
    violations = list(_violations(request))
    if violations:
        raise invalid(violations)


def _violations(request: pb.ShouldRateLimitRequest) -> Iterable[Violation]:
    if not request.domain:
        yield Violation("domain", "must not be empty")
    if not 1 <= len(request.descriptors) <= MAX_DESCRIPTORS:
        yield Violation("descriptors", f"must be 1 to {MAX_DESCRIPTORS}, not {len(request.descriptors)}")
        return
    for index, descriptor in enumerate(request.descriptors):
        if not 1 <= len(descriptor.entries) <= MAX_ENTRIES:
            yield Violation(f"descriptors[{index}].entries", f"must be 1 to {MAX_ENTRIES}")
        if descriptor.HasField("limit") and descriptor.limit.unit not in UNITS:
            yield Violation(f"descriptors[{index}].limit.unit", "must be a unit of time")
