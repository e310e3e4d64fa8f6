"""Reads what callers report of their upstreams, and writes what became of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

from google.protobuf.duration_pb2 import Duration
from headworks.limiter.v1 import limiter_pb2
from headworks.limiter.v1 import limiter_service_pb2 as pb
from headworks_core.errors import InvalidArgument, Violation, invalid

from headworks_limiter.domain import upstream
from headworks_limiter.domain.ask import Ask
from headworks_limiter.domain.decision import Mode
from headworks_limiter.domain.grants import Reported
from headworks_limiter.domain.upstream import Feedback
from headworks_limiter.requests import MAX_SHOWN, RequestReader

MAX_HEADERS = 32
MAX_NAME_BYTES = 64
MAX_VALUE_BYTES = 1024
DAY_S = 86_400
GRANT_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class OutcomeReader:
    """Checks reports, finds the buckets that they are about, and reads what they say."""

    def __init__(self, requests: RequestReader, *, now_us: Callable[[], int] = lambda: time.time_ns() // 1_000) -> None:
        """`now_us` tells the time that points in time within headers are held against, in us since the epoch."""
        self._requests = requests
        self._now_us = now_us

    def read(self, request: pb.ReportOutcomeRequest, tenant: str) -> tuple[Ask, Feedback]:
        """Which buckets, and what the upstream said. Raises InvalidArgument with all the fields at fault; NotFound."""
        violations = [*_scalar_violations(request), *_header_violations(request.headers)]
        named = limiter_pb2.PermitRequest(namespace=request.namespace, descriptors=request.descriptors, permits=1)
        try:
            ask = self._requests.ask(named, tenant, Mode.LOOK)
        except InvalidArgument as error:
            raise invalid([*error.violations, *violations]) from None
        if violations:
            raise invalid(violations)
        latency_us = request.latency.ToMicroseconds() if request.HasField("latency") else None
        return ask, upstream.read(request.status, request.headers, now_us=self._now_us(), latency_us=latency_us)


def learned(what: Reported) -> pb.ReportOutcomeResponse:
    """The reply."""
    blocked_for = Duration()
    blocked_for.FromMicroseconds(what.blocked_us)
    return pb.ReportOutcomeResponse(blocked_for=blocked_for, rules=what.rules)


def _scalar_violations(request: pb.ReportOutcomeRequest) -> list[Violation]:
    found = []
    if request.HasField("grant_id") and not GRANT_ID.fullmatch(request.grant_id):
        found.append(Violation("grant_id", f"must match {GRANT_ID.pattern}, or not be set"))
    if request.status != 0 and not 100 <= request.status <= 599:
        found.append(Violation("status", "must be 100 to 599, or 0 for no answer"))
    latency = request.latency
    whole = 0 <= latency.nanos < 10**9 and 0 <= latency.seconds <= DAY_S
    if not whole or (latency.seconds == DAY_S and latency.nanos):
        found.append(Violation("latency", "must be 0 to 1 day"))
    return found


def _header_violations(headers: Mapping[str, str]) -> list[Violation]:
    if len(headers) > MAX_HEADERS:
        return [Violation("headers", f"must have at most {MAX_HEADERS} fields, not {len(headers)}")]
    found = []
    for name, value in sorted(headers.items()):
        field = f"headers[{name[:MAX_SHOWN]!a}]"
        if not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
            found.append(Violation(field, f"the name must be 1 to {MAX_NAME_BYTES} bytes long"))
        if len(value.encode()) > MAX_VALUE_BYTES:
            found.append(Violation(field, f"the value must be at most {MAX_VALUE_BYTES:,} bytes long"))
    return found
