"""What a caller over gRPC sees is the same, whichever front answers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from headworks.limiter.v1.admin_service_pb2 import ExplainRulesRequest
from headworks.limiter.v1.admin_service_pb2_grpc import LimiterAdminServiceStub
from headworks.limiter.v1.limiter_service_pb2 import ConsumeRequest
from headworks_client import LimiterClient
from headworks_core import errors, grpc_errors
from headworks_core.store import redis_client
from headworks_limiter.envoy.servicer import METHOD
from headworks_limiter.envoy.servicer import SERVICE as SERVICE_OF_ENVOY

from tests.integration.limiter.fronts.serving import SERVICE, Front, front, in_script
from tests.integration.limiter.serving import request, seconds
from tests.support.http import scrape, value
from tests.support.ports import free_port
from tests.support.wait import wait_until

_USERS = (f"user-{number}" for number in itertools.count())


@pytest.fixture(scope="module", params=["grpc", "envoy"])
async def served(
    request: pytest.FixtureRequest, valkey_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Front]:
    """One limiter for all tests; each has a user of its own."""
    async with front(request.param, valkey_url, tmp_path_factory.mktemp("rules")) as running:
        yield running


@pytest.fixture
def user() -> str:
    """Somebody whose buckets are full."""
    return next(_USERS)


async def failure(call: Any) -> tuple[grpc.StatusCode, errors.ServiceError]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), grpc_errors.from_call(caught.value)


async def test_permits_are_taken_looked_at_and_refused(served: Front, user: str) -> None:
    taken = await served.limiter.consume(request(user=user, _permits=40))
    assert (taken.allowed, taken.governing.remaining) == (True, 60)
    assert (await served.limiter.check(request(user=user))).governing.remaining == 60
    refused = await served.limiter.consume(request(user=user, _permits=61))
    assert not refused.allowed
    assert seconds(refused.retry_after) > 0


async def test_a_batch_has_its_errors_in_its_items(served: Front, user: str) -> None:
    results = await served.limiter.batch(request(user=user), request("nowhere", user=user), request(user=user))
    assert [result.error.reason for result in results] == ["", "NAMESPACE_NOT_FOUND", ""]
    assert results[2].decision.governing.remaining == 98


async def test_errors_have_code_reason_and_message(served: Front, user: str) -> None:
    code, error = await failure(served.limiter.consume(request("nowhere", user=user)))
    assert code is grpc.StatusCode.NOT_FOUND
    assert error.reason is errors.Reason.NAMESPACE_NOT_FOUND
    assert str(error) == "namespace nowhere has no rules here"


async def test_bad_fields_are_named_and_messages_keep_their_letters(served: Front) -> None:
    code, error = await failure(served.limiter.consume(request("Ä%", user="x", _permits=-1)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert {violation.field for violation in error.violations} == {"request.namespace", "request.permits"}


async def test_a_message_that_is_none_is_the_callers_mistake(served: Front) -> None:
    call: Any = served.limiter.channel.unary_unary(f"{SERVICE}/Consume")
    code, error = await failure(call(b"\xff\xff", timeout=30))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "cannot be decoded" in str(error)


async def test_a_tenant_has_its_own_buckets_and_must_be_well_named(served: Front, user: str) -> None:
    assert (await served.limiter.of("one").consume(request(user=user, _permits=100))).allowed
    assert not (await served.limiter.of("one").consume(request(user=user))).allowed
    assert (await served.limiter.of("two").consume(request(user=user))).allowed
    code, error = await failure(served.limiter.of("No Tenant").consume(request(user=user)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == ["headworks-tenant"]


async def test_who_waits_for_less_time_than_the_store_needs_is_told_so(
    served: Front, user: str, valkey_url: str
) -> None:
    async with redis_client(valkey_url, timeout_s=30) as redis:
        await redis.client_pause(20_000, all=False)
        try:
            asked = ConsumeRequest(request=request(user=user))
            code, _ = await failure(served.limiter.stub.Consume(asked, timeout=0.3))
        finally:
            await redis.client_unpause()
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await served.limiter.check(request(user=user))).allowed


async def test_a_message_that_is_too_large_is_refused(served: Front) -> None:
    call: Any = served.limiter.channel.unary_unary(f"{SERVICE}/ConsumeBatch")
    code, _ = await failure(call(b"\x0a" * (5 << 20), timeout=30))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await served.limiter.check(request(user="x"))).allowed


async def test_a_packed_message_is_unpacked(served: Front, user: str) -> None:
    asked = ConsumeRequest(request=request(user=user, _permits=7))
    reply = await served.limiter.stub.Consume(asked, compression=grpc.Compression.Gzip, timeout=30)
    assert reply.decision.governing.remaining == 93


async def test_methods_that_do_not_exist_are_unimplemented(served: Front) -> None:
    for path in (f"{SERVICE}/Forget", "/headworks.limiter.v1.NoService/Consume"):
        call: Any = served.limiter.channel.unary_unary(path)
        code, _ = await failure(call(b"", timeout=30))
        assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_told_and_watched(served: Front) -> None:
    stub: Any = health_pb2_grpc.HealthStub(served.limiter.channel)
    for service in ("", "liveness", "readiness", "rules", "headworks.limiter.v1.LimiterService"):
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING, service
    code, _ = await failure(stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=30))
    assert code is grpc.StatusCode.NOT_FOUND
    watching = stub.Watch(health_pb2.HealthCheckRequest(service="readiness"), timeout=30)
    assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
    watching.cancel()


async def test_the_admin_service_answers_too(served: Front) -> None:
    stub: Any = LimiterAdminServiceStub(served.limiter.channel)
    code, error = await failure(
        stub.ExplainRules(ExplainRulesRequest(namespace="nowhere", descriptors={"user": "x"}), timeout=30)
    )
    assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, errors.Reason.NAMESPACE_NOT_FOUND)


async def test_the_client_library_shares_a_stream(served: Front, user: str) -> None:
    async with LimiterClient(served.address) as client:
        answers = await asyncio.gather(*(client.consume("api", {"user": user}) for _ in range(120)))
    assert sum(answer.allowed for answer in answers) == 100


@pytest.mark.parametrize("kind", ["grpc", "envoy"])
async def test_a_call_ends_when_its_caller_goes(
    kind: str, valkey_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    folder = tmp_path_factory.mktemp("rules")
    async with (
        redis_client(valkey_url, timeout_s=30) as redis,
        front(kind, valkey_url, folder, metrics_address=metrics, redis_timeout_ms=60_000) as served,
    ):
        before = await cancelled(metrics)
        await redis.client_pause(60_000, all=False)
        try:
            call = served.limiter.stub.Consume(ConsumeRequest(request=request(user="gone")))
            await wait_until(lambda: in_script(redis), 20, what="the call to wait for the store")
            call.cancel()

            async def counted() -> bool:
                return await cancelled(metrics) == before + 1

            await wait_until(counted, 20, what="the call to be cancelled")
        finally:
            await redis.client_unpause()


async def cancelled(metrics: str) -> float:
    """Consume calls that have ended so."""
    found = await scrape(metrics)
    return value(
        found, "headworks_rpc_calls_total", method="headworks.limiter.v1.LimiterService/Consume", status="CANCELLED"
    )


@pytest.mark.parametrize("kind", ["grpc", "envoy"])
async def test_changed_rules_are_used(kind: str, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    async with front(kind, valkey_url, tmp_path_factory.mktemp("rules")) as served:
        served.rules.write_text(served.rules.read_text().replace("limit: 100", "limit: 50"))

        async def changed() -> bool:
            return (await served.limiter.check(request(user="x"))).governing.limit == 50

        await wait_until(changed, 20, what="the new rules")


@pytest.mark.parametrize("kind", ["grpc", "envoy"])
async def test_envoys_own_service_is_served(
    kind: str, valkey_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rules")
    rules = folder / "envoy.yaml"
    rules.write_text("domain: web\ndescriptors: [{key: ip, rate_limit: {unit: day, requests_per_unit: 1}}]\n")
    async with front(kind, valkey_url, folder, envoy_rules=str(rules)) as served:
        call: Any = served.limiter.channel.unary_unary(f"/{SERVICE_OF_ENVOY}/{METHOD}")
        _, error = await failure(call(b"", timeout=30))
        assert isinstance(error, errors.InvalidArgument)
