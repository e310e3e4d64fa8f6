"""The examples for chat messages (need C) and for providers (need D), through the real service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headworks_client import LimiterClient
from headworks_client.decisions import Decision
from headworks_client.limiter import PermitRequest
from redis.asyncio import Redis

from tests.integration.limiter.serving import running
from tests.support.wait import wait_until

FOLDER = Path(__file__).parents[3] / "examples" / "rules"
GAMMA = {"provider": "gamma"}
BUSY_S = 20.0
"""By how much a busy machine may make an answer late."""


@pytest.fixture
async def chat(redis: Redis, valkey_url: str) -> AsyncIterator[LimiterClient]:
    rules = (FOLDER / "chat.yaml").read_text()
    async with running(valkey_url, rules) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        yield client


@pytest.fixture
async def providers(redis: Redis, valkey_url: str) -> AsyncIterator[LimiterClient]:
    rules = (FOLDER / "providers.yaml").read_text()
    async with running(valkey_url, rules) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        yield client


async def waits(client: LimiterClient, *chats: str, max_wait_s: float = 600) -> list[float | None]:
    """When each message may go, asked for in one step, so at one time; None: refused."""
    asked = [PermitRequest("chat", {"chat": name}, max_wait_s=max_wait_s) for name in chats]
    found = await client.consume_batch(asked)
    decisions = [each for each in found if isinstance(each, Decision)]
    assert len(decisions) == len(asked)
    return [each.wait_s if each.allowed else None for each in decisions]


async def test_messages_go_thirty_a_second_in_all(chat: LimiterClient) -> None:
    found = await waits(chat, *(f"chat-{n}" for n in range(90)))
    assert found == pytest.approx([n / 30 for n in range(90)], abs=1e-5)  # 90 chats: three seconds


async def test_a_chat_goes_at_its_own_pace_and_holds_up_no_other(chat: LimiterClient) -> None:
    found = await waits(chat, *["slow"] * 10, "other", "another")
    at_once = [n / 30 for n in range(5)]
    # Permit n is there when 5 + t / 4 reaches it: the 6th at 4 s, the 10th at 20 s. Others come right behind the 5th.
    assert found == pytest.approx([*at_once, 4, 8, 12, 16, 20, 5 / 30, 6 / 30], abs=1e-5)
    assert await waits(chat, "slow", max_wait_s=1) == [None]


async def test_a_429_stops_the_chat_that_it_came_for(chat: LimiterClient) -> None:
    told = await chat.report_outcome("chat", {"chat": "a"}, 429, {"Retry-After": "300"})
    assert (told.rules, 300 - BUSY_S < told.blocked_for_s <= 300) == (("per-chat",), True)
    (stopped, other) = await waits(chat, "a", "b")
    assert stopped is not None
    assert 300 - BUSY_S < stopped <= 300
    assert other == 0


async def test_limits_follow_what_a_provider_says_is_left(providers: LimiterClient) -> None:
    headers = {"X-RateLimit-Limit": "200", "X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "60"}
    assert (await providers.report_outcome("providers", {"provider": "beta"}, 200, headers)).rules[0] == "calls"
    decision = await providers.check("providers", {"provider": "beta"})
    assert decision.governing is not None
    assert (decision.governing.rule, 3 <= decision.governing.remaining < 10) == ("calls", True)  # one back in 3.6 s
    told = await providers.report_outcome("providers", {"provider": "beta"}, 429, {"Retry-After": "120"})
    assert 120 - BUSY_S < told.blocked_for_s <= 120
    refused = await providers.consume("providers", {"provider": "beta"})
    assert (refused.allowed, 120 - 2 * BUSY_S < refused.retry_after_s <= 120) == (False, True)


async def test_a_provider_that_fails_is_left_alone_and_others_are_not(providers: LimiterClient) -> None:
    for _ in range(20):
        assert (await providers.consume("providers", {"provider": "alpha"})).allowed
        await providers.report_outcome("providers", {"provider": "alpha"}, 500)
    refused = await providers.consume("providers", {"provider": "alpha"}, detail_all=True)
    assert [rule.rule for rule in refused.rules if not rule.allowed] == ["health"]
    assert 30 - BUSY_S < refused.retry_after_s <= 30
    assert (await providers.consume("providers", GAMMA)).allowed


async def test_a_breaker_recovers_by_itself(redis: Redis, valkey_url: str) -> None:
    quick = (FOLDER / "providers.yaml").read_text().replace("open: 30s", "open: 500ms")
    async with running(valkey_url, quick) as limiter, LimiterClient(limiter.address, timeout_s=20) as client:
        for _ in range(20):
            await client.report_outcome("providers", GAMMA, 0)
        good = 0

        async def trial() -> bool:
            nonlocal good
            if (await client.consume("providers", GAMMA)).allowed:
                await client.report_outcome("providers", GAMMA, 200)
                good += 1
            return good == 3

        await wait_until(trial, 30, what="three trials")
        explained = {rule.rule: rule.status for rule in await client.explain("providers", GAMMA)}
        assert explained["health"] is not None
        assert (explained["health"].allowed, explained["health"].reset_after_s) == (True, 0)


async def test_batches_fit_the_budget(providers: LimiterClient) -> None:
    batches = await providers.plan_batches("providers", {"provider": "alpha"}, 250)
    # 100 are there at once. Then batches of a quarter of that, for each of which 25 permits come back in 15 s.
    assert [batch.items for batch in batches] == [100, *[25] * 6]
    assert [batch.start_after_s for batch in batches] == pytest.approx([15 * n for n in range(7)])


async def test_jobs_are_held_until_they_are_released(providers: LimiterClient) -> None:
    job = {"provider": "alpha", "pool": "jobs"}
    grants = [await providers.consume("providers", job) for _ in range(20)]
    assert all(grant.allowed for grant in grants)
    await providers.release(grants[0].grant_id)
    assert (await providers.check("providers", job)).allowed
    await providers.report_outcome("providers", job, 200, latency_s=11)  # too slow: 18 at a time from now on
    assert not (await providers.check("providers", job)).allowed
