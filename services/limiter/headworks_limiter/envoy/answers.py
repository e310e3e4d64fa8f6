"""What Envoy is told, once the hits are counted.

Source: envoyproxy/ratelimit, src/service/ratelimit.go and src/limiter/base_limiter.go (read for what is answered when).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from headworks.limiter.envoy.v1 import rate_limit_pb2 as pb

from headworks_limiter.envoy.limits import Limit
from headworks_limiter.envoy.windows import Count, Unit

UNLIMITED = 2**32 - 1
HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
UNITS: dict[Unit, Any] = {unit: pb.Unit.Value(f"UNIT_{unit.name}") for unit in Unit}
ROUTE = ("backend_name", "model_name_override")
"""Entries by which quotas belong together."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are given; every part is off unless it is asked for."""

    headers: bool = False
    """RateLimit-Limit, -Remaining and -Reset of the tightest limit go with every answer."""
    shadow: bool = False
    """Every request may pass, whatever its limits say."""
    quota: bool = False
    """Every limit is a quota."""
    metadata: bool = False
    """Dynamic metadata goes with every answer."""


class Judged(NamedTuple):
    """A descriptor and what became of it."""

    descriptor: pb.Descriptor
    limit: Limit | None
    """The one that applies."""
    counted: Count | None
    """None: nothing was counted, as no limit applies or it is unlimited."""

    @property
    def exceeded(self) -> bool:
        """Whether its limit is, enforced or not. Hits that are given back exceed nothing."""
        if self.counted is None or self.limit is None or self.descriptor.is_negative_hits:
            return False
        return self.counted.hits > self.limit.requests_per_unit

    @property
    def over(self) -> bool:
        """Whether it is told so."""
        return self.exceeded and not (self.limit is not None and self.limit.shadow)


def answer(request: pb.ShouldRateLimitRequest, judged: Sequence[Judged], manner: Manner) -> pb.ShouldRateLimitResponse:
    """The reply to a request, with one status a descriptor."""
    reply = pb.ShouldRateLimitResponse()
    for each in judged:
        _status(reply.statuses.add(), each)
    quotas = _quotas(judged, manner)
    refused = any(each.over and not _is_quota(each, manner) for each in judged)
    over = refused or (bool(quotas) and all(quotas.values()))
    reply.overall_code = pb.CODE_OVER_LIMIT if over and not manner.shadow else pb.CODE_OK
    if manner.headers:
        _headers(reply, judged, manner)
    if manner.metadata:
        _metadata(reply, request, judged, quotas, manner)
    return reply


def _status(status: pb.DescriptorStatus, each: Judged) -> None:
    status.code = pb.CODE_OVER_LIMIT if each.over else pb.CODE_OK
    limit = each.limit
    if limit is None:
        return
    if limit.unit is None or each.counted is None:
        status.limit_remaining = UNLIMITED
        return
    told = status.current_limit
    told.requests_per_unit, told.unit, told.name = limit.requests_per_unit, UNITS[limit.unit], limit.name
    status.limit_remaining = max(limit.requests_per_unit - each.counted.hits, 0)
    status.duration_until_reset.seconds = each.counted.reset_s


def _is_quota(each: Judged, manner: Manner) -> bool:
    return manner.quota or (each.limit is not None and each.limit.quota)


def _quotas(judged: Sequence[Judged], manner: Manner) -> dict[str, bool]:
    """By group: whether one of its quotas is exceeded. Unlimited descriptors are in no group."""
    groups: dict[str, bool] = {}
    for each in judged:
        if _is_quota(each, manner) and not _is_unlimited(each):
            group = _group(each.descriptor)
            groups[group] = groups.get(group, False) or each.over
    return groups


def _is_unlimited(each: Judged) -> bool:
    return each.limit is not None and each.limit.unit is None


def _route(descriptor: pb.Descriptor) -> tuple[str, str]:
    said = {entry.key: entry.value for entry in descriptor.entries if entry.key in ROUTE}
    return said.get(ROUTE[0], ""), said.get(ROUTE[1], "")


def _group(descriptor: pb.Descriptor) -> str:
    """Descriptors of one backend and model belong together; others stand alone."""
    route = _route(descriptor)
    if any(route):
        return "|".join(route)
    return "".join(f"{entry.key}={entry.value};" for entry in descriptor.entries)


def _headers(reply: pb.ShouldRateLimitResponse, judged: Sequence[Judged], manner: Manner) -> None:
    """Those of the last limit that is exceeded, otherwise of the first that leaves the least."""
    limited = [index for index, status in enumerate(reply.statuses) if status.HasField("current_limit")]
    if not limited:
        return
    over = [index for index in limited if judged[index].over and not _is_quota(judged[index], manner)]
    tightest = over[-1] if over else min(limited, key=lambda index: reply.statuses[index].limit_remaining)
    status = reply.statuses[tightest]
    values = (status.current_limit.requests_per_unit, status.limit_remaining, status.duration_until_reset.seconds)
    for key, value in zip(HEADERS, values, strict=True):
        reply.response_headers_to_add.add(key=key, value=str(value))


def _metadata(
    reply: pb.ShouldRateLimitResponse,
    request: pb.ShouldRateLimitRequest,
    judged: Sequence[Judged],
    quotas: Mapping[str, bool],
    manner: Manner,
) -> None:
    passed = [
        each
        for each in judged
        if not each.over
        and not _is_unlimited(each)
        and not (_is_quota(each, manner) and quotas[_group(each.descriptor)])
    ]
    told: dict[str, Any] = {
        "domain": request.domain,
        "descriptors": [_described(descriptor) for descriptor in request.descriptors],
    }
    if request.hits_addend:
        told["hitsAddend"] = request.hits_addend
    merged: dict[str, Any] = {}
    for each in passed:
        _merge(merged, each.limit.metadata if each.limit is not None else {})
    if merged:
        told["metadata"] = merged
    routes = {route: None for route in map(_route, (each.descriptor for each in passed)) if any(route)}
    if quotas and routes:
        told["passedBackends"] = [dict(zip(ROUTE, route, strict=True)) for route in routes]
    reply.dynamic_metadata.update(told)


def _described(descriptor: pb.Descriptor) -> dict[str, Any]:
    told: dict[str, Any] = {"entries": [f"{entry.key}={entry.value}" for entry in descriptor.entries]}
    if descriptor.HasField("limit"):
        unit = pb.Unit.Name(descriptor.limit.unit).removeprefix("UNIT_")
        told["limit"] = f"requests_per_unit:{descriptor.limit.requests_per_unit} unit:{unit}"
    if descriptor.HasField("hits_addend"):
        told["hitsAddend"] = descriptor.hits_addend.value
    return told


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """What is there already stays, but for mappings, which are merged."""
    for key, value in more.items():
        if isinstance(value, Mapping):
            there = into.setdefault(key, {})
            if isinstance(there, dict):
                _merge(there, value)
        else:
            into.setdefault(key, value)
