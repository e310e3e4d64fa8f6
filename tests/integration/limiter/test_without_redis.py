"""A limiter that needs no Redis: its buckets are in memory, or it is switched off."""

from __future__ import annotations

import asyncio

import pytest
from headworks_core import errors, grpc_errors
from headworks_core.errors import Reason
from headworks_limiter.domain.ask import Ask
from headworks_limiter.domain.decision import Mode
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.rule import Bucket, Rule
from headworks_limiter.settings import Settings
from headworks_limiter.store.memory import MemoryBuckets
from pydantic import ValidationError

from tests.integration.limiter.serving import Limiter, request, running
from tests.support.ports import free_port

ID = "6f2c1e1e-0d6a-4c7b-9a51-0b6c8f3f2a10"
RULES = """
namespaces:
  api:
    rules:
      - {name: rate, match: {user: "*"}, limit: 100, per: 2000d}
      - {name: window, match: {plan: free}, limit: 30, per: year, algorithm: fixed_window, align: first_hit}
"""


async def consumed(client: Limiter, **fields: object) -> bool | errors.ServiceError:
    """Whether it was allowed."""
    try:
        return (await client.consume(request(**fields))).allowed  # type: ignore[arg-type]
    except Exception as error:
        return grpc_errors.from_call(error)  # type: ignore[arg-type]


async def test_memory_gives_exactly_what_there_is_all_or_nothing() -> None:
    async with running("memory:", RULES) as client:
        answers = await asyncio.gather(*(consumed(client, user="ann", plan="free") for _ in range(200)))
        assert answers.count(True) == 30
        assert (await client.check(request(user="ann"))).governing.remaining == 70
        results = await client.batch(*(request(user="bob", _permits=60) for _ in range(3)))
        assert [result.decision.allowed for result in results] == [True, False, False]


async def test_memory_remembers_ids() -> None:
    async with running("memory:", RULES) as client:
        first = await client.consume(request(user="ann", _permits=4, _request_id=ID))
        again = await client.consume(request(user="ann", _permits=4, _request_id=ID))
        assert (first.replayed, again.allowed, again.replayed, again.governing.remaining) == (False, True, True, 96)
        other = await consumed(client, user="ann", _permits=5, _request_id=ID)
        assert isinstance(other, errors.InvalidArgument)
        assert other.reason is Reason.REQUEST_ID_REUSED


async def test_a_limiter_that_is_switched_off_allows_all_that_is_well_formed_and_needs_no_store() -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    async with running(nowhere, RULES, enabled=False) as client:
        decisions = [await client.consume(request(user="ann", _permits=60)) for _ in range(3)]
        assert [(each.allowed, each.permits, each.degraded) for each in decisions] == [(True, 60, False)] * 3
        results = await client.batch(*(request(user="ann", _permits=60) for _ in range(3)))
        assert all(result.decision.allowed for result in results)
        wrong = await consumed(client, user="ann", _permits=0)
        assert isinstance(wrong, errors.InvalidArgument)


def test_memory_is_for_one_replica() -> None:
    with pytest.raises(ValidationError, match="redis_url is memory:, so replicas must be 1"):
        Settings.model_validate({"redis_url": "memory:", "replicas": 2})


async def test_memory_forgets_what_was_used_least_recently() -> None:
    buckets = MemoryBuckets(max_states=2)
    rule = Rule("api", "r", (), Gcra(10, 86_400_000_000, 10))

    async def left(key: str, permits: int = 1) -> int:
        (verdict,) = await buckets.decide([Ask(0, Mode.TAKE, permits, [Bucket(key, rule)])])
        return verdict.outcomes[0].remaining

    assert [await left(key) for key in ("a", "b", "a", "c", "a", "b")] == [9, 9, 8, 9, 7, 9]
    assert len(buckets) == 2
