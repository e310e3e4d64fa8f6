"""Waiting, partial grants, holds and leases, through the real service on Redis and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from headworks_client import Decision, LimiterClient, PermitRequest
from headworks_core.errors import FailedPrecondition, InvalidArgument, NotFound, Reason
from redis.asyncio import Redis

from tests.integration.limiter.serving import running
from tests.support.wait import wait_until

RULES = """
namespaces:
  api:
    rules:
      - {name: rate, match: {user: "*"}, limit: 10/hour}
  window:
    rules:
      - {name: year, match: {user: "*"}, limit: 10/year, algorithm: fixed_window}
  chat:
    rules:
      - {name: all, match: {}, limit: 3_000/minute, burst: 1}
      - {name: one, match: {chat: "*"}, limit: 60/minute, burst: 2}
  line:
    rules:
      - {name: line, match: {user: "*"}, limit: 60/minute, algorithm: leaky_bucket, queue: 3}
  slots:
    rules:
      - {name: slots, match: {user: "*"}, algorithm: concurrency, limit: 2, ttl: 30s}
      - {name: rate, match: {user: "*"}, limit: 100/hour}
  short:
    rules:
      - {name: slots, match: {user: "*"}, algorithm: concurrency, limit: 1, ttl: 200ms}
  counting:
    rules:
      - {name: year, match: {user: "*"}, limit: 10/year, algorithm: fixed_window, count_denied: true}
"""
ANN = {"user": "ann"}


@pytest.fixture(params=["redis", "memory"])
async def client(request: pytest.FixtureRequest, redis: Redis, valkey_url: str) -> AsyncIterator[LimiterClient]:
    url = valkey_url if request.param == "redis" else "memory:"
    async with running(url, RULES) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        yield client


async def remaining(client: LimiterClient, namespace: str) -> int:
    decision = await client.check(namespace, ANN)
    assert decision.governing is not None
    return decision.governing.remaining


async def test_who_waits_gets_the_next_free_time_and_one_slow_chat_holds_up_nobody(client: LimiterClient) -> None:
    async def send(chat: str, max_wait_s: float = 10) -> float | None:
        decision = await client.consume("chat", {"chat": chat}, max_wait_s=max_wait_s)
        return decision.wait_s if decision.allowed else None

    slow = [await send("a") for _ in range(5)]
    assert None not in slow
    waits = [wait or 0.0 for wait in slow]
    assert waits == sorted(waits)
    assert waits[1] < 0.5
    assert 2 < waits[4] <= 3.2
    prompt = [await send("b"), await send("c")]
    assert all(wait is not None and wait < 0.5 for wait in prompt), prompt
    assert await send("a", max_wait_s=1) is None


async def test_fewer_permits_are_better_than_none(client: LimiterClient) -> None:
    assert (await client.consume("api", ANN, 7)).permits == 7
    some = await client.consume("api", ANN, 50, allow_partial=True)
    assert (some.allowed, some.permits) == (True, 3)
    none = await client.consume("api", ANN, 5, allow_partial=True)
    assert (none.allowed, none.permits, none.retry_after_s > 0) == (False, 0, True)


async def test_a_hold_is_settled_at_its_true_cost_and_only_once(client: LimiterClient) -> None:
    for namespace in ("api", "window"):
        grant = await client.consume(namespace, ANN, 8, hold_s=60)
        assert grant.grant_id
        assert not await client.settle(grant.grant_id, 3)
        assert await remaining(client, namespace) == 7
        assert await client.settle(grant.grant_id, 3)
        with pytest.raises(FailedPrecondition) as other:
            await client.settle(grant.grant_id, 4)
        assert other.value.reason is Reason.GRANT_SETTLED
        assert await remaining(client, namespace) == 7
        more = await client.consume(namespace, ANN, 1, hold_s=60)
        await client.settle(more.grant_id, 5)
        assert await remaining(client, namespace) == 2


async def test_grants_that_cannot_be_settled_say_why(client: LimiterClient) -> None:
    with pytest.raises(NotFound) as unknown:
        await client.settle(str(uuid4()), 1)
    assert unknown.value.reason is Reason.GRANT_NOT_FOUND
    for_good = str(uuid4())
    assert (await client.consume("api", ANN, request_id=for_good)).grant_id == ""
    with pytest.raises(FailedPrecondition) as given:
        await client.settle(for_good, 0)
    assert given.value.reason is Reason.GRANT_NOT_HELD
    with pytest.raises(InvalidArgument, match="grant_id: must be the id of a grant"):
        await client.release("x")
    grant = await client.consume("api", ANN, 5, hold_s=0.05)

    async def late() -> bool:
        try:
            await client.settle(grant.grant_id, 5)
        except FailedPrecondition as error:
            return error.reason is Reason.GRANT_EXPIRED
        return False

    before = await remaining(client, "api")
    await asyncio.sleep(0.06)  # what is tested is that time has passed
    await wait_until(late, 10, what="the end of the hold")
    assert await remaining(client, "api") == before


async def test_other_tenants_cannot_settle(valkey_url: str, redis: Redis) -> None:
    async with (
        running(valkey_url, RULES) as limiter,
        LimiterClient(limiter.address, tenant="a") as one,
        LimiterClient(limiter.address, tenant="b") as other,
    ):
        grant = await one.consume("api", ANN, 5, hold_s=60)
        with pytest.raises(NotFound):
            await other.settle(grant.grant_id, 0)


async def test_slots_are_held_released_and_renewed_by_their_holders_alone(client: LimiterClient) -> None:
    first, second = [await client.consume("slots", ANN) for _ in range(2)]
    refused = await client.consume("slots", ANN)
    assert (refused.allowed, 20 < refused.retry_after_s <= 30) == (False, True)
    assert 29 < await client.renew(first.grant_id) <= 30
    assert await client.release(first.grant_id)
    assert not await client.release(first.grant_id)
    third = await client.consume("slots", ANN)
    assert third.allowed
    assert not await client.release(first.grant_id)
    assert not (await client.consume("slots", ANN)).allowed
    with pytest.raises(FailedPrecondition) as lost:
        await client.renew(first.grant_id)
    assert lost.value.reason is Reason.GRANT_EXPIRED
    await client.settle(second.grant_id, 0)
    assert (await client.consume("slots", ANN)).allowed


async def test_a_holder_who_dies_gives_its_slot_back(client: LimiterClient) -> None:
    stale = await client.consume("short", ANN)

    async def taken() -> bool:
        return (await client.consume("short", ANN)).allowed

    await wait_until(taken, 10, what="a slot")
    assert not await client.release(stale.grant_id)


async def test_a_line_says_when_and_refuses_when_it_is_full(client: LimiterClient) -> None:
    waits = [await client.consume("line", ANN) for _ in range(3)]
    assert all(decision.allowed for decision in waits)
    assert [round(decision.wait_s) for decision in waits] == [0, 1, 2]
    full = await client.consume("line", ANN)
    assert not full.allowed
    assert 0 < full.retry_after_s <= 1


async def test_refusals_count_where_the_rule_says_so(client: LimiterClient) -> None:
    assert (await client.consume("counting", ANN, 8)).allowed
    assert not (await client.consume("counting", ANN, 5)).allowed
    assert not (await client.consume("counting", ANN, 1)).allowed
    assert (await client.consume("window", ANN, 8)).allowed
    assert not (await client.consume("window", ANN, 5)).allowed
    assert (await client.consume("window", ANN, 1)).allowed


async def test_quota_is_leased_spent_and_given_back(client: LimiterClient) -> None:
    request_id = str(uuid4())
    lease = await client.lease_quota("window", ANN, 6, duration_s=600, request_id=request_id)
    assert (lease.permits, lease.inexact, lease.lease_id) == (6, False, request_id)
    assert 0 < lease.expires_after_s <= 600
    assert await client.lease_quota("window", ANN, 6, duration_s=600, request_id=request_id)
    rest = await client.lease_quota("window", ANN, 100)
    assert rest.permits == 4
    none = await client.lease_quota("window", ANN, 1)
    assert (none.lease_id, none.permits, none.retry_after_s > 0) == ("", 0, True)
    await client.return_quota(lease.lease_id, 2)
    assert await remaining(client, "window") == 4
    assert (await client.lease_quota("api", ANN, 5)).inexact


async def test_a_plan_fits_what_there_is_and_will_be(client: LimiterClient) -> None:
    await client.consume("api", ANN, 4)
    batches = await client.plan_batches("api", ANN, 20, min_batch=3)
    assert [batch.items for batch in batches][:2] == [6, 3]
    assert sum(batch.items for batch in batches) == 20
    assert batches[0].start_after_s == 0
    assert 1_000 < batches[1].start_after_s <= 1_080
    assert await remaining(client, "api") == 6
    assert len(await client.plan_batches("api", ANN, 1_000, max_batch=2, max_batches=5)) == 5
    with pytest.raises(InvalidArgument) as much:
        await client.plan_batches("api", ANN, 1, permits_per_item=11)
    assert much.value.reason is Reason.PERMITS_EXCEED_LIMIT


async def test_a_store_that_is_full_takes_back_what_is_held(valkey_url: str, redis: Redis) -> None:
    async with running(valkey_url, RULES) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        slot, rate = await client.consume("slots", ANN), await client.consume("api", ANN, 8, hold_s=60)
        await redis.config_set("maxmemory", "1")
        try:
            await client.settle(rate.grant_id, 3)
            assert await client.release(slot.grant_id)
        finally:
            await redis.config_set("maxmemory", "0")
        assert await remaining(client, "api") == 7
        assert await remaining(client, "slots") == 2


async def test_a_grant_is_settled_once_however_many_try(client: LimiterClient) -> None:
    grant = await client.consume("window", ANN, 10, hold_s=60)
    again = await asyncio.gather(*(client.settle(grant.grant_id, 4) for _ in range(50)))
    assert again.count(False) == 1
    assert await remaining(client, "window") == 6


async def test_batches_and_streams_wait_hold_and_take_less_too(client: LimiterClient) -> None:
    wants = [
        PermitRequest("api", ANN, 7),
        PermitRequest("api", ANN, 7, allow_partial=True, hold_s=60),
        PermitRequest("chat", {"chat": "a"}, max_wait_s=5),
        PermitRequest("chat", {"chat": "a"}, max_wait_s=5),
    ]
    first, second, third, fourth = await client.consume_batch(wants)
    assert isinstance(first, Decision)
    assert isinstance(second, Decision)
    assert isinstance(third, Decision)
    assert isinstance(fourth, Decision)
    assert (first.permits, first.grant_id, second.permits, bool(second.grant_id)) == (7, "", 3, True)
    assert (third.wait_s, 0 < fourth.wait_s <= 5) == (0, True)
    shared = await asyncio.gather(*(client.consume("slots", {"user": str(n)}) for n in range(20)))
    assert len({decision.grant_id for decision in shared}) == 20
