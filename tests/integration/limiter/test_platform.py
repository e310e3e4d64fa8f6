"""Rules with `scope: platform`: one bucket for all tenants, together with the rules of each."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from headworks.limiter.v1 import limiter_service_pb2 as pb
from headworks.limiter.v1.admin_service_pb2 import ExplainRulesRequest, ResetBucketsRequest
from headworks.limiter.v1.admin_service_pb2_grpc import LimiterAdminServiceStub
from headworks.limiter.v1.limiter_pb2 import REFUSAL_LIMITED, PermitRequest
from headworks_limiter.domain.rule import reserved_key
from redis.asyncio import Redis

from tests.integration.limiter.serving import Limiter, request, running, text
from tests.support.wait import wait_until

RULES = """
namespaces:
  api:
    rules:
      - {name: user, match: {user: "*"}, limit: 3, per: 2000d, algorithm: fixed_window}
      - {name: all, match: {}, limit: 10, per: 2000d, algorithm: fixed_window, scope: platform}
  only:
    rules:
      - {name: all, match: {}, limit: 10, per: 2000d, scope: platform}
  slots:
    rules:
      - {name: user, match: {user: "*"}, limit: 100, per: 2000d}
      - {name: slots, match: {}, limit: 2, algorithm: concurrency, ttl: 1h, scope: platform}
  counted:
    rules:
      - {name: user, match: {user: "*"}, limit: 10, per: 2000d, count_denied: true}
      - {name: all, match: {}, limit: 5, per: 2000d, scope: platform, count_denied: true}
      - {name: trial, match: {}, limit: 1, per: 2000d, scope: platform, shadow: true}
  queue:
    rules:
      - {name: line, match: {user: "*"}, limit: 10, per: 1s, algorithm: leaky_bucket}
      - {name: all, match: {}, limit: 5, per: 1s, scope: platform}
"""
CELLS = 64
TENANTS = [f"tenant-{number}" for number in range(20)]


@pytest.fixture(params=["memory", "one cell", "cells"])
async def limiter(request: pytest.FixtureRequest, redis: Redis, valkey_url: str) -> AsyncIterator[Limiter]:
    """In one process, in one step, and in two."""
    where: dict[str, Any] = {"memory": ("memory:", 1), "one cell": (valkey_url, 1), "cells": (valkey_url, CELLS)}
    url, cells = where[request.param]
    async with running(url, RULES, cells=cells) as client:
        yield client


@pytest.fixture
async def apart(redis: Redis, valkey_url: str) -> AsyncIterator[Limiter]:
    """With platform rules in a cell of their own."""
    async with running(valkey_url, RULES, cells=CELLS) as client:
        yield client


async def test_all_tenants_share_one_bucket_and_each_has_its_own(limiter: Limiter) -> None:
    first = await limiter.of("one").consume(request(user="ann", _permits=3))
    assert {rule.rule: rule.remaining for rule in first.rules} == {"user": 0, "all": 7}
    refused = await limiter.of("one").consume(request(user="ann"))
    assert (refused.allowed, refused.refusal, refused.governing.rule) == (False, REFUSAL_LIMITED, "user")
    assert {rule.rule: rule.remaining for rule in refused.rules} == {"user": 0, "all": 7}
    for tenant in ("two", "three"):
        assert (await limiter.of(tenant).consume(request(user="ann", _permits=3))).allowed
    refused = await limiter.of("four").consume(request(user="ann", _permits=2))
    assert (refused.allowed, refused.governing.rule, refused.governing.remaining) == (False, "all", 1)
    assert {rule.rule: rule.remaining for rule in refused.rules} == {"user": 3, "all": 1}
    assert refused.retry_after.seconds > 86_400
    last = await limiter.of("four").consume(request(user="ann"))
    assert (last.allowed, last.governing.rule, last.governing.remaining) == (True, "all", 0)


async def test_exactly_what_the_platform_rule_says_is_granted_to_many_tenants_at_once(limiter: Limiter) -> None:
    async def one(number: int) -> int:
        return (await limiter.of(TENANTS[number % 20]).consume(request(user=f"user-{number}"))).permits

    assert sum(await asyncio.gather(*map(one, range(60)))) == 10


async def test_what_the_tenants_rules_refuse_comes_back_to_the_platforms(limiter: Limiter) -> None:
    for _ in range(9):  # 9 of one user with 3 permits: 6 refusals
        await limiter.of("one").consume(request(user="ann"))
    looked = await limiter.of("two").check(request(user="bob"))
    assert {rule.rule: rule.remaining for rule in looked.rules} == {"user": 3, "all": 7}


async def test_a_look_takes_and_creates_nothing(apart: Limiter, redis: Redis) -> None:
    for tenant in TENANTS:
        looked = await apart.of(tenant).check(request(user="ann", _permits=3))
        assert looked.allowed
        assert looked.permits == 0
        assert {rule.rule: rule.remaining for rule in looked.rules} == {"user": 3, "all": 10}
    assert await redis.keys("{hw:*}:lim:*") == []


async def test_nothing_but_buckets_stays_behind(apart: Limiter, redis: Redis) -> None:
    await asyncio.gather(*(apart.of(tenant).consume(request(user="ann")) for tenant in TENANTS))

    async def ended() -> bool:
        return await redis.keys("*:reserved") == []

    await wait_until(ended, 30, what="the refunds")
    keys = [text(key) for key in await redis.keys("{hw:*}:lim:*")]
    assert len([key for key in keys if ":_platform:api/all/" in key]) == 1
    assert len([key for key in keys if ":api/user/" in key]) == 10
    assert len(keys) == 11


async def test_a_request_sent_twice_takes_once(limiter: Limiter) -> None:
    again = request(user="ann", _permits=2, _request_id=str(uuid.uuid4()))
    decisions = [await limiter.of("one").consume(again) for _ in range(3)]
    assert [(each.allowed, each.permits, each.replayed) for each in decisions] == [
        (True, 2, False),
        (True, 2, True),
        (True, 2, True),
    ]
    assert {rule.rule: rule.remaining for rule in decisions[2].rules} == {"user": 1, "all": 8}
    await limiter.of("two").consume(request(user="x", _permits=3))
    await limiter.of("three").consume(request(user="x", _permits=3))
    await limiter.of("four").consume(request(user="x", _permits=2))
    assert (await limiter.of("one").consume(again)).replayed  # also when nothing is left
    other = PermitRequest()
    other.CopyFrom(again)
    other.permits = 1
    with pytest.raises(grpc.aio.AioRpcError, match="was used for another request"):
        await limiter.of("one").consume(other)


async def test_a_grant_that_was_recorded_and_never_confirmed_is_none(apart: Limiter, redis: Redis) -> None:
    again = request(user="ann", _permits=2, _request_id=str(uuid.uuid4()))
    assert (await apart.of("one").consume(again)).allowed
    records = await redis.keys(f"{{hw:*}}:lim:one:grant:{again.request_id}")
    (record,) = [
        text(key) for key in records if "=" in text(await redis.get(key) or "")
    ]  # the one that knows its buckets
    # As if the limiter had died between the tenant's cell and the confirmation, and the time were over.
    await redis.zadd(reserved_key(record.partition(":lim:")[0]), {record: 1})

    async def given_back() -> bool:
        looked = await apart.of("two").check(request(user="x"))
        return bool(looked.rules[1].remaining == 10)

    await wait_until(given_back, 30, what="the reservation to end")
    for tenant, permits in {"two": 3, "three": 3, "four": 3, "five": 1}.items():
        assert (await apart.of(tenant).consume(request(user="x", _permits=permits))).allowed
    refused = await apart.of("one").consume(again)
    assert (refused.allowed, refused.governing.rule) == (False, "all")
    admin: Any = LimiterAdminServiceStub(apart.channel)
    reset = ResetBucketsRequest(namespace="api", descriptors={"user": "x"}, rule="all")
    await admin.ResetBuckets(reset, metadata=(("headworks-tenant", "two"),))
    for _ in range(2):
        granted = await apart.of("one").consume(again)
        assert (granted.allowed, granted.permits, granted.replayed) == (True, 2, True)
        assert {rule.rule: rule.remaining for rule in granted.rules} == {"user": 1, "all": 8}


async def test_a_batch_is_decided_item_by_item(limiter: Limiter) -> None:
    results = await limiter.of("one").batch(
        request(user="ann", _permits=2), request("only", ip="x"), request(user="ann", _permits=2), request(user="bob")
    )
    decisions = [result.decision for result in results]
    assert [decision.permits for decision in decisions] == [2, 1, 0, 1]
    assert decisions[2].governing.rule == "user"
    looked = await limiter.of("two").check(request(user="ann"))
    assert {rule.rule: rule.remaining for rule in looked.rules} == {"user": 3, "all": 7}


async def test_fewer_permits_are_those_that_both_have(limiter: Limiter) -> None:
    some = await limiter.of("one").consume(request(user="ann", _permits=3, _allow_partial=True))
    more = await limiter.of("one").consume(request(user="bob", _permits=10, _allow_partial=True))
    assert (some.permits, more.permits) == (3, 3)
    await limiter.of("two").consume(request(user="ann", _permits=3))
    rest = await limiter.of("three").consume(request(user="ann", _permits=3, _allow_partial=True))
    assert (rest.permits, rest.governing.rule) == (1, "all")


async def test_a_hold_is_settled_in_both_cells(limiter: Limiter) -> None:
    held = await limiter.of("one").consume(request(user="ann", _permits=3, _hold=Duration(seconds=60)))
    metadata = (("headworks-tenant", "one"),)
    settle = pb.SettleRequest(grant_id=held.grant_id, permits=1)
    assert not (await limiter.stub.Settle(settle, metadata=metadata)).replayed
    assert (await limiter.stub.Settle(settle, metadata=metadata)).replayed
    with pytest.raises(grpc.aio.AioRpcError, match="settled at 1 permits, not at 2"):
        await limiter.stub.Settle(pb.SettleRequest(grant_id=held.grant_id, permits=2), metadata=metadata)
    looked = await limiter.of("one").check(request(user="ann"))
    assert {rule.rule: rule.remaining for rule in looked.rules} == {"user": 2, "all": 9}


async def test_slots_of_the_platform_are_held_renewed_and_released(limiter: Limiter) -> None:
    held = [await limiter.of(tenant).consume(request("slots", user="ann")) for tenant in ("one", "two")]
    refused = await limiter.of("three").consume(request("slots", user="ann"))
    assert (refused.allowed, refused.governing.rule) == (False, "slots")
    metadata = (("headworks-tenant", "one"),)
    renewed = await limiter.stub.Renew(pb.RenewRequest(grant_id=held[0].grant_id), metadata=metadata)
    assert 3_500 < renewed.expires_after.seconds <= 3_600
    released = await limiter.stub.Release(pb.ReleaseRequest(grant_id=held[0].grant_id), metadata=metadata)
    assert released.released
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await limiter.stub.Renew(pb.RenewRequest(grant_id=held[0].grant_id), metadata=metadata)
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert (await limiter.of("three").consume(request("slots", user="ann"))).allowed
    assert not (await limiter.of("one").consume(request("slots", user="ann"))).allowed


async def test_quota_on_lease_comes_back_to_both(limiter: Limiter) -> None:
    metadata = (("headworks-tenant", "one"),)
    asked = pb.LeaseQuotaRequest(namespace="api", descriptors={"user": "ann"}, permits=8)
    lease = await limiter.stub.LeaseQuota(asked, metadata=metadata)
    assert (lease.permits, lease.inexact) == (3, False)
    looked = await limiter.of("two").check(request(user="ann"))
    assert {rule.rule: rule.remaining for rule in looked.rules} == {"user": 3, "all": 7}
    await limiter.stub.ReturnQuota(pb.ReturnQuotaRequest(lease_id=lease.lease_id, spent=1), metadata=metadata)
    looked = await limiter.of("one").check(request(user="ann"))
    assert {rule.rule: rule.remaining for rule in looked.rules} == {"user": 2, "all": 9}


async def test_plans_and_reports_know_platform_rules(limiter: Limiter) -> None:
    metadata = (("headworks-tenant", "one"),)
    await limiter.of("two").consume(request(user="x", _permits=3))
    await limiter.of("three").consume(request(user="x", _permits=3))
    await limiter.of("four").consume(request(user="x", _permits=2))
    planned = await limiter.stub.PlanBatches(
        pb.PlanBatchesRequest(namespace="api", descriptors={"user": "ann"}, items=2, max_batches=1), metadata=metadata
    )
    assert [batch.items for batch in planned.batches] == [2]
    planned = await limiter.stub.PlanBatches(
        pb.PlanBatchesRequest(namespace="api", descriptors={"user": "ann"}, items=3, max_batches=1), metadata=metadata
    )
    assert [batch.items for batch in planned.batches] == [2]  # the platform has 2 left, the tenant 3
    told = pb.ReportOutcomeRequest(
        namespace="api", descriptors={"user": "ann"}, status=429, headers={"retry-after": "90"}
    )
    learned = await limiter.stub.ReportOutcome(told, metadata=metadata)
    assert (learned.blocked_for.seconds, sorted(learned.rules)) == (90, ["all", "user"])
    refused = await limiter.of("five").consume(request(user="eve"))
    assert (refused.allowed, refused.governing.rule) == (False, "all")


async def test_operators_see_and_empty_the_bucket_of_all(limiter: Limiter) -> None:
    admin: Any = LimiterAdminServiceStub(limiter.channel)
    metadata = (("headworks-tenant", "two"),)
    await limiter.of("one").consume(request(user="ann", _permits=3))
    explained = await admin.ExplainRules(
        ExplainRulesRequest(namespace="api", descriptors={"user": "x"}), metadata=metadata
    )
    assert {rule.rule: rule.status.remaining for rule in explained.rules} == {"user": 3, "all": 7}
    reset = ResetBucketsRequest(namespace="api", descriptors={"user": "x"})
    assert list((await admin.ResetBuckets(reset, metadata=metadata)).rules) == ["user", "all"]
    looked = await limiter.of("one").check(request(user="ann"))
    assert {rule.rule: rule.remaining for rule in looked.rules} == {"user": 0, "all": 10}


async def test_refused_requests_count_in_both_where_rules_say_so(limiter: Limiter) -> None:
    for tenant in TENANTS[:5]:
        assert (await limiter.of(tenant).consume(request("counted", user="ann"))).allowed
    refused = await limiter.of("one").consume(request("counted", user="ann", _permits=2))
    remaining = {rule.rule: rule.remaining for rule in refused.rules if not rule.shadow}
    assert (refused.allowed, remaining) == (False, {"user": 8, "all": 0})
    looked = await limiter.of("one").check(request("counted", user="ann"))
    assert {rule.rule: rule.remaining for rule in looked.rules} == {"user": 8, "all": 0, "trial": 0}


async def test_a_tenants_refusal_counts_with_the_platform_where_its_rule_says_so(limiter: Limiter) -> None:
    for _ in range(2):
        await limiter.of("one").consume(request("counted", user="ann", _permits=2))
    looked = await limiter.of("one").check(request("counted", user="ann"))
    assert {rule.rule: rule.remaining for rule in looked.rules} == {"user": 6, "all": 1, "trial": 1}


async def test_what_has_to_wait_cannot_span_cells(apart: Limiter) -> None:
    for asked, what in (
        (
            request(user="ann", _max_wait=Duration(seconds=1)),
            "request.max_wait: platform rule all lives in another cell",
        ),
        (request("queue", user="ann"), "rule line makes requests wait: platform rule all lives in another cell"),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match=what) as raised:
            await apart.consume(asked)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (await apart.batch(asked))[0].error.reason == "PLATFORM_RULE"


async def test_in_one_cell_platform_rules_can_wait_too(redis: Redis, valkey_url: str) -> None:
    async with running(valkey_url, RULES, cells=1) as limiter:
        assert (await limiter.consume(request("queue", user="ann"))).allowed
