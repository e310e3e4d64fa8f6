"""What a caller sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from headworks.limiter.v1.limiter_pb2 import (
    DETAIL_GOVERNING,
    REFUSAL_LIMITED,
    REFUSAL_UNSPECIFIED,
    Decision,
    PermitRequest,
    PermitResult,
)
from headworks.limiter.v1.limiter_service_pb2 import CheckRequest, ConsumeBatchRequest, ConsumeRequest
from headworks_core import cells, errors, grpc_errors
from headworks_limiter.rules import RulesError
from redis.asyncio import Redis

from tests.integration.limiter.serving import Limiter, request, running, seconds, text

ID = "6f2c1e1e-0d6a-4c7b-9a51-0b6c8f3f2a10"
RULES = """
namespaces:
  api:
    rules:
      - {name: rate, match: {user: "*"}, limit: 100, per: 2000d}
      - {name: quota, match: {user: "*", endpoint: POST /x}, limit: 10, per: 10 years, algorithm: fixed_window}
  crowd:
    rules:
      - {name: rate, match: {user: "*"}, limit: 150, per: 3000d}
      - {name: window, match: {plan: free}, limit: 30, per: year, algorithm: fixed_window, align: first_hit}
  other:
    rules:
      - {name: rate, match: {user: "*"}, limit: 3, per: 2000d}
"""


@pytest.fixture
async def limiter(redis: Redis, valkey_url: str) -> AsyncIterator[Limiter]:
    async with running(valkey_url, RULES) as client:
        yield client


def expensive(**fields: Any) -> PermitRequest:
    return request(user="ann", endpoint="POST /x", **fields)


def remaining(decision: Decision) -> dict[str, int]:
    return {status.rule: status.remaining for status in decision.rules}


async def test_permits_are_taken_from_every_rule_that_the_request_meets(limiter: Limiter) -> None:
    decision = await limiter.consume(expensive(_permits=4))
    assert decision.allowed
    assert decision.permits == 4
    assert decision.refusal == REFUSAL_UNSPECIFIED
    assert not decision.HasField("retry_after")
    assert remaining(decision) == {"rate": 96, "quota": 6}
    assert decision.governing.rule == "quota"
    assert seconds(decision.rules[0].reset_after) == 4 * 20 * 86_400


async def test_a_refusal_says_which_rule_and_how_long_and_takes_from_none(limiter: Limiter) -> None:
    await limiter.consume(expensive(_permits=8))
    refused = await limiter.consume(expensive(_permits=4))
    assert not refused.allowed
    assert refused.permits == 0
    assert refused.refusal == REFUSAL_LIMITED
    assert refused.governing.rule == "quota"
    assert refused.retry_after == refused.governing.retry_after
    assert seconds(refused.retry_after) > 0
    assert [status.allowed for status in refused.rules] == [True, False]
    assert remaining(refused) == {"rate": 92, "quota": 2}
    assert remaining(await limiter.check(expensive())) == {"rate": 92, "quota": 2}


async def test_a_check_says_what_consume_would_and_leaves_no_trace(limiter: Limiter, redis: Redis) -> None:
    before = set(await redis.keys())
    decision = await limiter.check(expensive(_permits=10))
    assert decision.allowed
    assert decision.permits == 0
    assert remaining(decision) == {"rate": 100, "quota": 10}
    assert set(await redis.keys()) == before

    await limiter.consume(expensive(_permits=5))
    refused = await limiter.check(expensive(_permits=6))
    assert (refused.allowed, refused.refusal, remaining(refused)["quota"]) == (False, REFUSAL_LIMITED, 5)


async def test_a_reply_has_only_the_governing_rule_unless_all_are_wanted(limiter: Limiter) -> None:
    decision = await limiter.consume(expensive(_detail=DETAIL_GOVERNING))
    assert decision.governing.rule == "quota"
    assert not decision.rules


async def test_a_request_that_meets_no_rule_is_allowed_and_costs_the_store_nothing(
    limiter: Limiter, redis: Redis
) -> None:
    before = set(await redis.keys())
    decision = await limiter.consume(request(ip="::1", _permits=1_000_000_000))
    assert decision.allowed
    assert decision.permits == 1_000_000_000
    assert not decision.HasField("governing")
    assert set(await redis.keys()) == before


async def test_tenants_do_not_share_buckets(limiter: Limiter) -> None:
    assert (await limiter.of("one").consume(request("other", user="ann", _permits=3))).allowed
    assert not (await limiter.of("one").consume(request("other", user="ann"))).allowed
    assert (await limiter.of("two").consume(request("other", user="ann", _permits=3))).allowed


async def test_keys_show_no_value_and_all_of_them_expire(limiter: Limiter, redis: Redis) -> None:
    await limiter.consume(request(user="ann@example.org", endpoint="POST /x", _request_id=ID))
    keys = {text(key) for key in await redis.keys("*:lim:*")}
    assert len(keys) == 3
    assert all(key.startswith("{hw:0}:lim:default:") for key in keys)
    assert not any("ann" in key or "POST" in key for key in keys)
    lives = {key: await redis.pttl(key) for key in keys}
    assert 600_000 < lives[f"{{hw:0}}:lim:default:grant:{ID}"] <= 660_000
    assert all(life > 60_000 for life in lives.values())


async def test_a_batch_is_decided_in_turn_and_over_namespaces(limiter: Limiter) -> None:
    results = await limiter.batch(
        request("other", user="ann", _permits=2),
        request("other", user="ann", _permits=2),
        request("other", user="ann", _permits=1),
        request("api", user="ann", _permits=1),
        request("other", user="bob", _permits=3),
    )
    assert [result.decision.allowed for result in results] == [True, False, True, True, True]
    assert [result.decision.governing.remaining for result in results] == [1, 1, 0, 99, 0]


async def test_errors_of_a_batch_belong_to_their_items(limiter: Limiter) -> None:
    results = await limiter.batch(
        request("nowhere", user="ann"),
        request("other", user="ann"),
        request("other", user="", _permits=0),
        request("other", user="ann", _permits=4),
        request("other", ip="::1"),
    )
    assert [outcome(result) for result in results] == [
        "NAMESPACE_NOT_FOUND",
        True,
        "INVALID_FIELD",
        "PERMITS_EXCEED_LIMIT",
        True,
    ]
    assert [violation.field for violation in results[2].error.field_violations] == ["permits", "descriptors['user']"]
    assert results[0].error.code == grpc.StatusCode.NOT_FOUND.value[0]


def outcome(result: PermitResult) -> str | bool:
    return result.error.reason if result.HasField("error") else result.decision.allowed


async def test_five_hundred_items_are_decided_exactly(limiter: Limiter) -> None:
    items = [request(user=f"user-{number % 4}", endpoint="POST /x") for number in range(500)]
    results = await limiter.batch(*items)
    allowed = [number % 4 for number, result in enumerate(results) if result.decision.allowed]
    assert sorted(allowed) == sorted([0, 1, 2, 3] * 10)
    assert allowed == [number % 4 for number in range(40)]
    assert remaining(results[-1].decision) == {"rate": 90, "quota": 0}


@pytest.mark.parametrize("count", [0, 501])
async def test_a_batch_of_another_size_is_refused_whole(limiter: Limiter, count: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await limiter.stub.ConsumeBatch(ConsumeBatchRequest(requests=[request(user="ann")] * count))
    error = grpc_errors.from_call(caught.value)
    assert isinstance(error, errors.InvalidArgument)
    assert error.reason is errors.Reason.BATCH_SIZE
    assert [violation.field for violation in error.violations] == ["requests"]


async def test_a_request_with_many_rules_and_many_items_is_split_and_stays_exact(redis: Redis, valkey_url: str) -> None:
    rule = '      - {name: r%d, match: {user: "*"}, limit: %d, per: year, algorithm: fixed_window}\n'
    rules = "namespaces:\n  api:\n    rules:\n" + "".join(rule % (number, 100 + number) for number in range(64))
    async with running(valkey_url, rules) as limiter:
        results = await limiter.batch(*[request(user="ann", _detail=DETAIL_GOVERNING)] * 500)
    assert [result.decision.allowed for result in results] == [True] * 100 + [False] * 400
    assert results[-1].decision.governing.rule == "r0"


@pytest.mark.parametrize("method", ["Check", "Consume"])
async def test_every_bad_field_reaches_the_caller_with_its_path(limiter: Limiter, method: str) -> None:
    bad = request("A", K="v", _permits=-1, _request_id="x", _detail=7)
    kind = {"Check": CheckRequest, "Consume": ConsumeRequest}[method]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(limiter.stub, method)(kind(request=bad))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    fields = {violation.field for violation in grpc_errors.from_call(caught.value).violations}
    ignored = {"request.request_id"} if method == "Check" else set()
    assert (
        fields
        == {
            "request.namespace",
            "request.descriptors['K']",
            "request.permits",
            "request.request_id",
            "request.detail",
        }
        - ignored
    )


async def test_a_call_without_a_request_names_what_is_missing(limiter: Limiter) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await limiter.stub.Consume(ConsumeRequest())
    fields = {violation.field for violation in grpc_errors.from_call(caught.value).violations}
    assert fields == {"request.namespace", "request.descriptors"}


@pytest.mark.parametrize(
    ("asked", "kind", "reason"),
    [
        (request("nowhere", user="ann"), errors.NotFound, errors.Reason.NAMESPACE_NOT_FOUND),
        (request(user="ann", _permits=101), errors.InvalidArgument, errors.Reason.PERMITS_EXCEED_LIMIT),
    ],
)
async def test_errors_are_typed(
    limiter: Limiter, asked: PermitRequest, kind: type[Exception], reason: errors.Reason
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await limiter.consume(asked)
    error = grpc_errors.from_call(caught.value)
    assert isinstance(error, kind)
    assert error.reason is reason
    assert error.retry_after_us is None


async def test_two_hundred_callers_get_exactly_what_two_rules_hold_together(limiter: Limiter, redis: Redis) -> None:
    decisions = await asyncio.gather(
        *(
            limiter.consume(request("crowd", user="ann", **({"plan": "free"} if number % 2 else {})))
            for number in range(200)
        )
    )
    allowed = [decision.allowed for decision in decisions]
    assert sum(allowed[0::2]) == 100  # met by the first rule only: no refusal of the others took its permits
    assert sum(allowed[1::2]) == 30
    assert remaining(await limiter.check(request("crowd", user="ann", plan="free"))) == {"rate": 20, "window": 0}

    kept = {key: await redis.get(key) for key in await redis.keys("*:lim:*")}
    again = await asyncio.gather(*(limiter.consume(request("crowd", user="ann", plan="free")) for _ in range(200)))
    assert not any(decision.allowed for decision in again)
    assert {key: await redis.get(key) for key in await redis.keys("*:lim:*")} == kept


async def test_two_replicas_share_every_bucket(limiter: Limiter, valkey_url: str) -> None:
    async with running(valkey_url, RULES) as second:
        decisions = await asyncio.gather(*((limiter, second)[number % 2].consume(expensive()) for number in range(60)))
    assert sum(decision.allowed for decision in decisions) == 10


async def test_a_changed_limit_takes_effect_at_once_and_keeps_what_was_taken(limiter: Limiter, valkey_url: str) -> None:
    await limiter.consume(request("other", user="ann", _permits=2))
    for limit, left in ((10, 8), (2, 0)):
        async with running(valkey_url, RULES.replace("limit: 3,", f"limit: {limit},")) as changed:
            assert remaining(await changed.check(request("other", user="ann"))) == {"rate": left}


async def test_scripts_that_the_store_forgot_are_sent_again(limiter: Limiter, redis: Redis) -> None:
    assert (await limiter.consume(request(user="ann"))).allowed
    await redis.script_flush()
    assert remaining(await limiter.consume(request(user="ann"))) == {"rate": 98}


async def test_without_a_rules_file_every_namespace_is_unknown(redis: Redis, valkey_url: str) -> None:
    async with running(valkey_url, "", rules_file="") as empty:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await empty.consume(request(user="ann"))
    assert grpc_errors.from_call(caught.value).reason is errors.Reason.NAMESPACE_NOT_FOUND


async def test_a_limiter_has_no_say_in_where_events_go(redis: Redis, valkey_url: str) -> None:
    await cells.join(redis, cells.Meta(events="none"))
    async with running(valkey_url, RULES) as limiter:
        assert (await limiter.consume(request(user="ann"))).allowed
    await redis.delete(cells.META)
    async with running(valkey_url, RULES):
        assert (await cells.join(redis, cells.Meta(events="none"))).events == "none"


async def test_a_limiter_with_another_number_of_cells_does_not_start(redis: Redis, valkey_url: str) -> None:
    async with running(valkey_url, RULES, cells=4):
        with pytest.raises(errors.FailedPrecondition, match="cells = 4"):
            async with running(valkey_url, RULES, cells=8):
                pass


async def test_bad_rules_keep_a_limiter_from_starting(redis: Redis, valkey_url: str) -> None:
    with pytest.raises(RulesError, match=r"rules\.yaml:1: .*unknown key 'rules'"):
        async with running(valkey_url, "rules: []"):
            pass
