"""Versions of rules: the same in Redis and in the process."""

from __future__ import annotations

import asyncio

import pytest
from headworks_core.errors import FailedPrecondition, Reason, ResourceExhausted, Unavailable
from headworks_core.store import redis_client
from headworks_limiter.domain.versions import KEPT, MAX_NAMESPACES, Draft
from headworks_limiter.published import RuleVersions
from headworks_limiter.store.memory_rule_versions import MemoryRuleVersions
from headworks_limiter.store.rule_versions import KEY, RedisRuleVersions
from redis.asyncio import Redis

from tests.integration.limiter.serving import text
from tests.support.ports import free_port


@pytest.fixture(params=["redis", "memory"])
def versions(request: pytest.FixtureRequest, redis: Redis) -> RuleVersions:
    return RedisRuleVersions(redis, timeout_s=10) if request.param == "redis" else MemoryRuleVersions()


def draft(text: str, comment: str = "") -> Draft:
    return Draft(text, "ann", comment)


async def test_each_change_is_a_version_and_readers_hear_of_the_latest(versions: RuleVersions) -> None:
    nothing = await versions.read("")
    assert nothing is not None
    assert (nothing.mark, nothing.versions) == ("", {})
    assert await versions.put("api", draft("é: 1\n# \N{SKULL}", "why \N{SKULL}"), None) == 1
    assert await versions.put("chat", draft("b"), None) == 2
    assert await versions.put("api", draft("c"), None) == 3
    first = await versions.read(nothing.mark)
    assert first is not None
    assert {name: (each.version, each.draft.text) for name, each in first.versions.items()} == {
        "api": (3, "c"),
        "chat": (2, "b"),
    }
    assert await versions.read(first.mark) is None
    assert [each.version for each in await versions.history("api")] == [3, 1]
    (_, oldest) = await versions.history("api")
    assert oldest.draft == Draft("é: 1\n# \N{SKULL}", "ann", "why \N{SKULL}")
    assert oldest.at_us > 1_700_000_000_000_000
    assert await versions.history("nowhere") == []


async def test_only_the_expected_version_is_replaced(versions: RuleVersions) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await versions.put("api", draft("a"), 1)
    assert caught.value.reason is Reason.RULES_CHANGED
    assert await versions.put("api", draft("a"), 0) == 1
    with pytest.raises(FailedPrecondition, match="are version 1 by now"):
        await versions.put("api", draft("b"), 0)
    assert await versions.put("api", draft("b"), 1) == 2


async def test_of_many_who_expect_the_same_one_wins(versions: RuleVersions) -> None:
    puts = (versions.put("api", draft(str(number)), 0) for number in range(20))
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    assert [outcome for outcome in outcomes if not isinstance(outcome, FailedPrecondition)] == [1]


async def test_putting_what_is_there_changes_nothing_whatever_was_expected(versions: RuleVersions) -> None:
    assert await versions.put("api", draft("a"), 0) == 1
    assert await versions.put("api", draft("a", "again"), 0) == 1
    gone = Draft("", "bob", deleted=True)
    assert [await versions.put("api", gone, None) for _ in range(2)] == [2, 2]
    assert await versions.put("api", draft("a"), 2) == 3
    assert [each.draft.deleted for each in await versions.history("api")] == [False, True, False]


async def test_the_latest_ten_are_kept(versions: RuleVersions) -> None:
    for number in range(KEPT + 3):
        await versions.put("api", draft(str(number)), None)
    kept = await versions.history("api")
    assert [each.version for each in kept] == list(range(KEPT + 3, 3, -1))


async def test_there_are_only_so_many_namespaces(versions: RuleVersions) -> None:
    for number in range(MAX_NAMESPACES):
        await versions.put(f"n{number}", draft("a"), None)
    with pytest.raises(ResourceExhausted) as caught:
        await versions.put("one-more", draft("a"), None)
    assert caught.value.reason is Reason.TOO_MANY_NAMESPACES
    await versions.put("n7", draft("b"), None)


async def test_all_is_one_key_without_a_ttl(redis: Redis) -> None:
    versions = RedisRuleVersions(redis, timeout_s=10)
    await versions.put("api", draft("a"), None)
    assert [text(key) for key in await redis.keys("*")] == [KEY]
    assert await redis.ttl(KEY) == -1


async def test_a_store_that_began_anew_is_read_again(redis: Redis) -> None:
    versions = RedisRuleVersions(redis, timeout_s=10)
    await versions.put("api", draft("a"), None)
    before = await versions.read("")
    assert before is not None
    await redis.flushall()
    await versions.put("api", draft("b"), None)
    after = await versions.read(before.mark)
    assert after is not None
    assert after.versions["api"].draft.text == "b"


async def test_a_full_server_changes_nothing(redis: Redis) -> None:
    versions = RedisRuleVersions(redis, timeout_s=10)
    await versions.put("api", draft("a"), None)
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(ResourceExhausted) as caught:
            await versions.put("api", draft("b"), None)
        assert caught.value.reason is Reason.STORE_FULL
        found = await versions.read("")
    finally:
        await redis.config_set("maxmemory", 0)
    assert found is not None
    assert found.versions["api"].draft.text == "a"


async def test_without_a_server_it_is_unavailable() -> None:
    async with redis_client(f"redis://127.0.0.1:{free_port()}/0", timeout_s=None) as nobody:
        versions = RedisRuleVersions(nobody, timeout_s=10)
        for call in (versions.read(""), versions.put("api", draft("a"), None), versions.history("api")):
            with pytest.raises(Unavailable):
                await call
