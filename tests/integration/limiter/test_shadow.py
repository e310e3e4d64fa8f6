"""Rules on trial: they count and tell, and refuse nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from headworks_core.errors import InvalidArgument, Reason
from headworks_core.grpc_errors import from_call
from redis.asyncio import Redis

from tests.integration.limiter.serving import Limiter, request, running
from tests.support.http import get
from tests.support.ports import free_port

RULES = """
namespaces:
  api:
    rules:
      - {name: hard, match: {user: "*"}, limit: 10/day}
      - {name: trial, match: {user: "*"}, limit: 3/day, shadow: true, on_store_failure: deny}
  only:
    rules:
      - {name: trial, match: {user: "*"}, limit: 3/day, shadow: true}
"""
"""A day is long enough that nothing comes back meanwhile."""


@pytest.fixture
def metrics_port() -> int:
    return free_port()


@pytest.fixture(params=["redis", "memory"])
async def limiter(
    request: pytest.FixtureRequest, redis: Redis, valkey_url: str, metrics_port: int
) -> AsyncIterator[Limiter]:
    url = valkey_url if request.param == "redis" else "memory:"
    async with running(url, RULES, metrics_address=f"127.0.0.1:{metrics_port}") as client:
        yield client


async def test_it_refuses_nothing_and_says_what_it_would(limiter: Limiter, metrics_port: int) -> None:
    for taken in range(1, 11):
        decision = await limiter.consume(request(user="ann"))
        hard, trial = decision.rules
        assert (decision.allowed, decision.governing.rule, decision.governing.remaining) == (True, "hard", 10 - taken)
        assert (hard.shadow, trial.shadow, trial.allowed) == (False, True, taken <= 3)
        assert trial.remaining == max(0, 3 - taken)
    refused = await limiter.consume(request(user="ann"))
    assert (refused.allowed, refused.governing.rule) == (False, "hard")
    batch = await limiter.batch(request(user="ann", _detail=1), request(user="bob", _detail=1))
    assert [each.decision.allowed for each in batch] == [False, True]
    assert [each.decision.governing.rule for each in batch] == ["hard", "hard"]

    _, page = await get(f"127.0.0.1:{metrics_port}", "/metrics")
    assert 'headworks_limiter_shadow_refusals_total{namespace="api",rule="trial"} 9' in page
    assert 'headworks_limiter_refusals_total{namespace="api",rule="hard"} 2' in page
    assert 'headworks_limiter_refusals_total{namespace="api",rule="trial"}' not in page


async def test_where_all_rules_are_on_trial_nothing_governs(limiter: Limiter) -> None:
    decisions = [await limiter.consume(request("only", user="ann")) for _ in range(5)]
    assert [decision.allowed for decision in decisions] == [True] * 5
    assert not any(decision.HasField("governing") for decision in decisions)
    assert [decision.rules[0].allowed for decision in decisions] == [True] * 3 + [False] * 2
    (result,) = await limiter.batch(request("only", user="ann", _detail=1))
    assert (result.decision.allowed, result.decision.HasField("governing")) == (True, False)


async def test_more_than_it_can_ever_hold_passes_it_by(limiter: Limiter) -> None:
    decision = await limiter.consume(request(user="ann", _permits=7))
    assert (decision.allowed, [rule.rule for rule in decision.rules]) == (True, ["hard"])
    alone = await limiter.consume(request("only", user="ann", _permits=7))
    assert (alone.allowed, list(alone.rules)) == (True, [])
    with pytest.raises(Exception, match="exceed") as caught:
        await limiter.consume(request(user="ann", _permits=11))
    error = from_call(caught.value)  # type: ignore[arg-type]
    assert isinstance(error, InvalidArgument)
    assert (error.reason, "rule hard" in error.message) == (Reason.PERMITS_EXCEED_LIMIT, True)
