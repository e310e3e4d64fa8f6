"""Reports over the wire: what learns from them hears what the upstream said, and the caller what it has learnt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from headworks.limiter.v1.limiter_service_pb2_grpc import add_LimiterServiceServicer_to_server
from headworks_client import Learned, LimiterClient
from headworks_core.cells import Meta
from headworks_core.context import CallContext
from headworks_core.errors import InvalidArgument, NotFound, Reason
from headworks_core.serving import bind, grpc_server
from headworks_limiter import reporting, rules
from headworks_limiter.decider import Decider
from headworks_limiter.domain.ask import Ask
from headworks_limiter.domain.upstream import Feedback, Kind
from headworks_limiter.requests import RequestReader
from headworks_limiter.servicer import LimiterServicer
from headworks_limiter.store.breaker import Breaker
from headworks_limiter.store.local import LocalBuckets
from headworks_limiter.store.memory import MemoryBuckets
from headworks_limiter.wire import CODECS

RULES = b"""
namespaces:
  out:
    rules:
      - {name: provider, match: {host: "*"}, limit: 100/minute}
      - {name: uploads, match: {route: POST /x}, limit: 5/hour}
"""


class Pupil:
    """Learns: what it is told to wait, for the rules that it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, Feedback]] = []

    async def report(self, ask: Ask, feedback: Feedback, *, grant_id: str, caller: CallContext) -> reporting.Learned:
        """See Upstreams."""
        self.heard.append((caller.tenant, grant_id, feedback))
        return reporting.Learned(feedback.block_us, [bucket.rule.name for bucket in ask.buckets])


@asynccontextmanager
async def limiter(pupil: Pupil | None) -> AsyncIterator[str]:
    """The address of a limiter with this pupil."""
    reader = RequestReader(rules.parse(RULES, path="rules.yaml"), Meta())
    async with Decider(MemoryBuckets(), LocalBuckets(replicas=1), Breaker(lambda: 0.0)) as decider:
        servicer = LimiterServicer(reader, decider, pupil)
        services = [bind(add_LimiterServiceServicer_to_server, servicer, CODECS)]
        async with grpc_server(services, address="127.0.0.1:0", grace_s=1, max_message_bytes=1 << 20) as (port, _):
            yield f"127.0.0.1:{port}"


async def test_what_an_upstream_said_reaches_the_rules_that_the_request_meets() -> None:
    pupil = Pupil()
    async with limiter(pupil) as address, LimiterClient(address, tenant="t1") as client:
        headers = {"RETRY-AFTER": "1.5", "x-ratelimit-limit": "60", "X-RateLimit-Remaining": "0"}
        both = {"host": "h", "route": "POST /x"}
        told = await client.report_outcome("out", both, 429, headers, latency_s=0.25, grant_id="g-1")
        silent = await client.report_outcome("out", {"host": "h"}, 0)

    assert told == Learned(1.5, ("provider", "uploads"))
    assert silent == Learned(0.0, ("provider",))
    assert pupil.heard == [
        ("t1", "g-1", Feedback(Kind.OVERLOAD, 1_500_000, 0, 60, None, 250_000)),
        ("t1", "", Feedback(Kind.FAILURE, 0, None, None, None, None)),
    ]


async def test_reports_that_are_wrong_reach_nobody() -> None:
    pupil = Pupil()
    async with limiter(pupil) as address, LimiterClient(address) as client:
        with pytest.raises(InvalidArgument, match="status: must be 100 to 599, or 0 for no answer"):
            await client.report_outcome("out", {"host": "h"}, 42)
        with pytest.raises(NotFound) as missing:
            await client.report_outcome("other", {"host": "h"}, 200)
    assert missing.value.reason is Reason.NAMESPACE_NOT_FOUND
    assert pupil.heard == []
