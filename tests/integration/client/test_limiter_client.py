"""The limiter's client: what it sends, what it understands, what it repeats."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from headworks.limiter.v1 import limiter_pb2
from headworks_client import Decision, Learned, LimiterClient, PermitRequest, Refusal, RuleStatus
from headworks_client.durations import to_duration
from headworks_core import telemetry
from headworks_core.errors import InvalidArgument, NotFound, Reason, ServiceError, Unavailable, Violation
from headworks_core.names import UUID
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from tests.support.fake_api import FakeApi
from tests.support.ports import free_port


async def test_a_request_carries_tenant_deadline_and_an_id(api: FakeApi, limiter: LimiterClient) -> None:
    await limiter.consume("n", {"user": "u"}, 3)

    (request,) = api.requests
    assert request.request.namespace == "n"
    assert dict(request.request.descriptors) == {"user": "u"}
    assert request.request.permits == 3
    assert UUID.fullmatch(request.request.request_id)
    assert api.metadata[0]["headworks-tenant"] == "t1"
    assert 0 < api.metadata[0]["time_remaining"] < 2.5
    assert "traceparent" not in api.metadata[0]


async def test_each_consume_has_its_own_id_unless_it_is_given(api: FakeApi, limiter: LimiterClient) -> None:
    await limiter.consume("n", {"user": "u"})
    await limiter.consume("n", {"user": "u"})
    await limiter.consume("n", {"user": "u"}, request_id="mine")

    ids = [request.request.request_id for request in api.requests]
    assert len(set(ids)) == 3
    assert ids[2] == "mine"


async def test_a_refusal_is_a_decision_with_all_its_facts(api: FakeApi, limiter: LimiterClient) -> None:
    rule = limiter_pb2.RuleStatus(
        rule="r", limit=5, remaining=1, reset_after=to_duration(9.5), retry_after=to_duration(1.25), allowed=False
    )
    api.decide = lambda request: limiter_pb2.Decision(
        refusal=limiter_pb2.REFUSAL_LIMITED, retry_after=to_duration(1.25), governing=rule, rules=[rule], degraded=True
    )

    decision = await limiter.check("n", {"user": "u"}, detail_all=True)

    status = RuleStatus("r", 5, 1, 9.5, 1.25, False)
    assert decision == Decision(False, 0, Refusal.LIMITED, 1.25, status, (status,), degraded=True, replayed=False)
    assert api.requests[0].request.detail == limiter_pb2.DETAIL_ALL


async def test_an_unavailable_limiter_is_asked_again_with_the_same_id(api: FakeApi, limiter: LimiterClient) -> None:
    api.failures.extend([grpc.StatusCode.UNAVAILABLE] * 2)

    assert (await limiter.consume("n", {"user": "u"})).allowed

    assert len({request.request.request_id for request in api.requests}) == 1
    assert len(api.requests) == 3


async def test_other_failures_are_not_repeated_and_come_as_typed_errors(api: FakeApi, limiter: LimiterClient) -> None:
    api.failures.append(InvalidArgument("descriptors: too many", violations=[Violation("descriptors", "too many")]))
    api.failures.append(NotFound("no such namespace", reason=Reason.NAMESPACE_NOT_FOUND))
    api.failures.append(grpc.StatusCode.INTERNAL)

    with pytest.raises(InvalidArgument, match="too many") as invalid:
        await limiter.consume("n", {"user": "u"})
    with pytest.raises(NotFound) as missing:
        await limiter.consume("n", {"user": "u"})
    with pytest.raises(ServiceError) as internal:
        await limiter.consume("n", {"user": "u"})

    assert invalid.value.violations == (Violation("descriptors", "too many"),)
    assert missing.value.reason is Reason.NAMESPACE_NOT_FOUND
    assert type(internal.value) is ServiceError
    assert len(api.requests) == 3


async def test_a_limiter_that_is_not_there_is_unavailable_soon() -> None:
    began = time.monotonic()
    async with LimiterClient(f"127.0.0.1:{free_port()}") as client:
        with pytest.raises(Unavailable):
            await client.consume("n", {"user": "u"})

    assert time.monotonic() - began < 2.5


async def test_a_batch_of_any_size_has_one_outcome_a_request(api: FakeApi, limiter: LimiterClient) -> None:
    requests = [PermitRequest("n", {"bad" if n == 3 else "user": "u"}, permits=n + 1) for n in range(501)]

    outcomes = await limiter.consume_batch(requests)

    assert [len(request.requests) for request in api.requests] == [500, 1]
    assert isinstance(outcomes[3], InvalidArgument)
    assert [o.permits for o in outcomes if isinstance(o, Decision)] == [n + 1 for n in range(501) if n != 3]
    assert len({item.request_id for request in api.requests for item in request.requests}) == 501


async def test_a_failed_call_fails_only_its_own_part_of_a_batch(api: FakeApi, limiter: LimiterClient) -> None:
    api.failures.append(InvalidArgument("no"))

    outcomes = await limiter.consume_batch([PermitRequest("n", {"user": "u"})] * 501)

    assert all(isinstance(outcome, InvalidArgument) for outcome in outcomes[:500])
    assert isinstance(outcomes[500], Decision)


async def test_an_upstreams_answer_is_reported_without_what_is_none_of_the_limiters_business(
    api: FakeApi, limiter: LimiterClient
) -> None:
    headers = {"Retry-After": "2", "Set-Cookie": "secret"}
    told = await limiter.report_outcome("n", {"host": "h"}, 429, headers, latency_s=0.25, grant_id="g")

    assert told == Learned(1.5, ("upstream",))
    (request,) = api.requests
    assert (request.namespace, dict(request.descriptors)) == ("n", {"host": "h"})
    assert (request.status, request.grant_id, request.latency.ToMicroseconds()) == (429, "g", 250_000)
    assert dict(request.headers) == {"retry-after": "2"}
    assert await limiter.report_outcome("n", {"host": "h"}, 0) == Learned(0.0, ())
    assert not api.requests[1].HasField("latency")
    assert not api.requests[1].HasField("grant_id")


async def test_a_report_is_never_repeated(api: FakeApi, limiter: LimiterClient) -> None:
    api.failures.append(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Unavailable):
        await limiter.report_outcome("n", {"host": "h"}, 200)
    assert len(api.requests) == 1


async def test_a_sampled_caller_has_a_span_for_the_call_and_its_context_travels(
    api: FakeApi, limiter: LimiterClient, spans: InMemorySpanExporter
) -> None:
    with telemetry.span("caller"):
        await limiter.check("n", {"user": "u"})

    call, caller = spans.get_finished_spans()
    assert call.name == "headworks.limiter.v1.LimiterService/Check"
    assert call.kind is SpanKind.CLIENT
    assert call.parent == caller.context
    assert f"{call.context.span_id:016x}" in api.metadata[0]["traceparent"]


async def test_a_caller_that_is_not_sampled_is_not_traced(
    api: FakeApi, limiter: LimiterClient, spans: InMemorySpanExporter
) -> None:
    await limiter.check("n", {"user": "u"})

    assert spans.get_finished_spans() == ()
    assert "traceparent" not in api.metadata[0]


@pytest.mark.parametrize(("callers", "sizes"), [(20, [20]), (64, [32, 32])])
async def test_concurrent_calls_go_in_two_halves_where_they_are_worth_two_messages(
    api: FakeApi, limiter: LimiterClient, callers: int, sizes: list[int]
) -> None:
    await asyncio.gather(*(limiter.consume("n", {"user": "u"}) for _ in range(1 + callers)))  # the first goes alone

    assert [len(message.requests) for message in api.requests if hasattr(message, "requests")] == sizes


@pytest.mark.parametrize(("callers", "largest"), [(500, 160), (1_000, 250)])
async def test_large_numbers_are_under_way_at_once_in_messages_as_small_as_that_allows(
    api: FakeApi, limiter: LimiterClient, callers: int, largest: int
) -> None:
    await asyncio.gather(*(limiter.consume("n", {"user": "u"}) for _ in range(1 + callers)))

    sizes = [len(message.requests) for message in api.requests if hasattr(message, "requests")]
    assert (sum(sizes), max(sizes)) == (callers, largest)
