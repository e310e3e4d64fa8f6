"""Rules that operators change while limiters run: everywhere soon, for good, and never by half."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from headworks_client import LimiterAdminClient, LimiterClient, SyncLimiterAdminClient
from headworks_client.rules import RuleSource
from headworks_core.errors import FailedPrecondition, InvalidArgument, NotFound, Reason, Unavailable
from headworks_limiter.app import limiter_app
from headworks_limiter.domain.versions import Draft
from headworks_limiter.settings import Settings
from headworks_limiter.store.rule_versions import RedisRuleVersions
from redis.asyncio import Redis

from tests.integration.limiter.serving import PATIENT_MS
from tests.support.http import scrape, value
from tests.support.ports import free_port
from tests.support.proxy import proxy
from tests.support.wait import wait_until

FILE = """
namespaces:
  api:
    rules:
      # by the file
      - {name: user, match: {user: "*"}, limit: 10/day}
  other:
    rules:
      - {name: user, match: {user: "*"}, limit: 7/day}
"""
SOON_S = 20.0


def rules(limit: int, more: str = "") -> str:
    return f'rules:\n  - {{name: user, match: {{user: "*"}}, limit: {limit}/day}} # by the API\n{more}'


@asynccontextmanager
async def limiter(redis_url: str, folder: Path, *, file: str = FILE, metrics: str = "") -> AsyncIterator[str]:
    """One replica; its address."""
    path = folder / "rules.yaml"
    path.write_text(file)
    told = Settings(
        address="127.0.0.1:0",
        redis_url=redis_url,
        rules_file=str(path),
        redis_timeout_ms=PATIENT_MS,
        shutdown_grace_s=1,
        metrics_address=metrics,
    )
    async with limiter_app(told) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture(params=["redis", "memory"])
async def address(request: pytest.FixtureRequest, redis: Redis, valkey_url: str, tmp_path: Path) -> AsyncIterator[str]:
    async with limiter(valkey_url if request.param == "redis" else "memory:", tmp_path) as found:
        yield found


async def limit_of(client: LimiterClient, namespace: str = "api") -> int:
    """What holds for ann; 0: the namespace is unknown, or nobody can say."""
    try:
        decision = await client.check(namespace, {"user": "ann"})
    except NotFound:
        return 0
    return decision.governing.limit if decision.governing else 0


def says(client: LimiterClient, limit: int, namespace: str = "api") -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return await limit_of(client, namespace) == limit

    return look


async def test_rules_of_the_api_stand_before_the_files_until_they_are_deleted(address: str) -> None:
    async with LimiterAdminClient(address, tenant="ops") as admin, LimiterClient(address) as client:
        assert await admin.set_rules("api", rules(20), comment="more") == 1
        assert (await limit_of(client), await limit_of(client, "other")) == (20, 7)
        assert await admin.set_rules("new", rules(30)) == 2
        assert await limit_of(client, "new") == 30
        api, new, other = await admin.list_rules()
        assert (api.source, api.file_overridden, new.file_overridden) == (RuleSource.API, True, False)
        assert (other.source, other.version) == (RuleSource.FILE, None)
        assert api.version is not None
        assert (api.version.version, api.version.author, api.version.comment) == (1, "ops", "more")
        assert abs(time.time() - api.version.create_time.timestamp()) < 3_600
        assert await admin.delete_rules("api", comment="enough") == 3
        assert await admin.delete_rules("api") == 3
        assert await limit_of(client) == 10
        (api, *_) = await admin.list_rules()
        assert api.version is not None
        assert (api.source, api.version.deleted) == (RuleSource.FILE, True)
        await admin.delete_rules("new")
        assert await limit_of(client, "new") == 0


async def test_what_was_taken_stays_taken_and_refusals_are_not_remembered(address: str) -> None:
    async with LimiterAdminClient(address) as admin, LimiterClient(address) as client:
        assert (await client.consume("api", {"user": "ann"}, 10)).allowed
        for _ in range(3):
            assert not (await client.consume("api", {"user": "ann"}, 1)).allowed
        await admin.set_rules("api", rules(15))
        decision = await client.consume("api", {"user": "ann"}, 1)
        assert decision.allowed
        assert decision.governing is not None
        assert decision.governing.remaining == 4


async def test_text_and_history_are_told_and_an_earlier_version_comes_back(address: str) -> None:
    async with LimiterAdminClient(address, tenant="ann") as admin, LimiterClient(address) as client:
        assert "# by the file" not in rules(1)
        assert (await admin.get_rules("other")).text.startswith("rules:\n  - {name: user")
        for limit in (20, 30):
            await admin.set_rules("api", rules(limit), comment=f"to {limit}")
        await admin.delete_rules("api")
        assert await admin.set_rules("api", restore_version=1, comment="back") == 4
        assert await limit_of(client) == 20
        found = await admin.get_rules("api")
        assert found.text == rules(20)
        assert [(each.version, each.comment, each.deleted) for each in found.history] == [
            (4, "back", False),
            (3, "", True),
            (2, "to 30", False),
            (1, "to 20", False),
        ]
        assert (await admin.get_rules("api", 2)).text == rules(30)
        assert (await admin.get_rules("api", 3)).text == ""
        with pytest.raises(NotFound, match="version 9 of namespace api is not kept; there are 4, 3, 2, 1"):
            await admin.set_rules("api", restore_version=9)
        with pytest.raises(InvalidArgument, match="restore_version: is a deletion"):
            await admin.set_rules("api", restore_version=3)
        with pytest.raises(NotFound) as nowhere:
            await admin.get_rules("nowhere")
        assert nowhere.value.reason is Reason.NAMESPACE_NOT_FOUND
        with pytest.raises(NotFound) as never:
            await admin.delete_rules("other")
        assert never.value.reason is Reason.RULES_NOT_FOUND


async def test_of_two_who_began_with_the_same_version_the_second_is_told(address: str) -> None:
    async with LimiterAdminClient(address) as admin, LimiterClient(address) as client:
        assert await admin.set_rules("api", rules(20), expected_version=0) == 1
        with pytest.raises(FailedPrecondition) as caught:
            await admin.set_rules("api", rules(30), expected_version=0)
        assert caught.value.reason is Reason.RULES_CHANGED
        with pytest.raises(FailedPrecondition):
            await admin.delete_rules("api", expected_version=7)
        assert await admin.set_rules("api", rules(20), expected_version=0) == 1  # said twice
        assert await limit_of(client) == 20


async def test_wrong_rules_are_refused_with_every_line_and_change_nothing(address: str) -> None:
    wrong = rules(20, "  - {name: user, match: {}, limt: 1/day}\n  - {name: b, match: {}, limit: often}\n")
    async with LimiterAdminClient(address) as admin, LimiterClient(address) as client:
        with pytest.raises(InvalidArgument) as caught:
            await admin.set_rules("api", wrong)
        assert caught.value.reason is Reason.RULES_INVALID
        assert caught.value.message.startswith("4 mistakes; line 3: ")
        assert {violation.field for violation in caught.value.violations} == {"text"}
        assert [mistake.line for mistake in await admin.validate_rules("api", wrong)] == [3, 3, 3, 4]
        assert await admin.validate_rules("api", rules(20)) == []
        assert await limit_of(client) == 10
        assert [each.version for each in await admin.list_rules()] == [None, None]


async def test_many_long_mistakes_still_fit_into_an_error(address: str) -> None:
    wrong = "rules:\n" + f"  - {{name: a, match: {{}}, limit: '{'x' * 2_000}'}}\n" * 50
    async with LimiterAdminClient(address) as admin:
        with pytest.raises(InvalidArgument) as caught:
            await admin.set_rules("api", wrong)
        assert caught.value.reason is Reason.RULES_INVALID
        assert len(await admin.validate_rules("api", wrong)) == 99  # each limit, and 49 names that are taken


async def test_a_change_is_on_every_replica_soon_and_outlives_all_of_them(
    redis: Redis, valkey_url: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(limiter(valkey_url, tmp_path)) for _ in range(3)]
        clients = [await stack.enter_async_context(LimiterClient(each)) for each in addresses]
        admin = await stack.enter_async_context(LimiterAdminClient(addresses[0]))
        for client in clients:
            assert (await client.consume("api", {"user": "ann"}, 3)).allowed
        assert not (await clients[2].consume("api", {"user": "ann"}, 2)).allowed
        await admin.set_rules("api", rules(20))
        for client in clients:
            await wait_until(says(client, 20), SOON_S, what="the rules on every replica")
        assert (await clients[2].consume("api", {"user": "ann"}, 2)).allowed
    async with limiter(valkey_url, tmp_path) as address, LimiterClient(address) as client:
        assert await limit_of(client) == 20


async def test_while_the_store_is_away_the_last_good_rules_hold_and_later_ones_come_with_it(
    redis: Redis, valkey_url: str, tmp_path: Path
) -> None:
    versions = RedisRuleVersions(redis, timeout_s=10)
    file = FILE.replace("limit: 10/day", "limit: 10/day, on_store_failure: allow")
    put = 'rules: [{name: user, match: {user: "*"}, limit: 20/day, on_store_failure: deny}]'
    async with proxy(valkey_url.partition("//")[2].partition("/")[0]) as between, AsyncExitStack() as stack:
        url = f"redis://{between.address}/0"
        address = await stack.enter_async_context(limiter(url, tmp_path, file=file))
        admin = await stack.enter_async_context(LimiterAdminClient(address, timeout_s=15))
        client = await stack.enter_async_context(LimiterClient(address, timeout_s=15))
        await admin.set_rules("api", put)
        between.refuse()
        between.cut()
        decision = await client.consume("api", {"user": "ann"})
        assert (decision.allowed, decision.degraded) == (False, True)  # by the rules put: the file's would allow
        with pytest.raises(Unavailable):
            await admin.set_rules("api", rules(30))
        await versions.put("api", Draft(rules(40), "bob"), None)
        await between.accept()
        await wait_until(says(client, 40), SOON_S, what="what was put meanwhile")


async def test_a_limiter_does_not_begin_without_knowing_the_rules(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        async with limiter(f"redis://127.0.0.1:{free_port()}/0", tmp_path):
            pass


async def test_rules_that_this_release_does_not_understand_are_told_and_the_last_good_stay(
    redis: Redis, valkey_url: str, tmp_path: Path
) -> None:
    versions, metrics = RedisRuleVersions(redis, timeout_s=10), f"127.0.0.1:{free_port()}"
    await versions.put("unheard", Draft("rules: [{name: new}]", "later"), None)
    async with (
        limiter(valkey_url, tmp_path, metrics=metrics) as address,
        LimiterAdminClient(address) as admin,
        LimiterClient(address) as client,
    ):
        assert value(await scrape(metrics), "headworks_limiter_rules_current") == 0
        assert (await limit_of(client, "unheard"), await limit_of(client)) == (0, 10)
        unheard = (await admin.list_rules())[2]
        assert (unheard.namespace, unheard.rules, unheard.source) == ("unheard", 0, RuleSource.API)
        assert unheard.fault.startswith("version 1: a rule: 'match' missing")
        await admin.set_rules("api", rules(20))
        await versions.put("api", Draft("rules: [{name: user, match: {}, limit: 5/fortnight}]", "later"), None)

        async def told() -> bool:
            return "version 3: limit: must be" in (await admin.list_rules())[0].fault

        await wait_until(told, SOON_S, what="the fault")
        assert await limit_of(client) == 20
        await admin.set_rules("api", rules(25))
        await admin.delete_rules("unheard")
        assert await limit_of(client) == 25
        seen = await scrape(metrics)
        assert value(seen, "headworks_limiter_rules_current") == 1
        assert value(seen, "headworks_limiter_rules_version") == 5


async def test_a_store_that_has_lost_them_leaves_them_in_use_here(
    redis: Redis, valkey_url: str, tmp_path: Path
) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    async with (
        limiter(valkey_url, tmp_path, metrics=metrics) as address,
        LimiterAdminClient(address) as admin,
        LimiterClient(address) as client,
    ):
        await admin.set_rules("api", rules(20))
        await redis.delete("hw:limits")

        async def noticed() -> bool:
            return value(await scrape(metrics), "headworks_limiter_rules_current") == 0

        await wait_until(noticed, SOON_S, what="the loss to be told")
        assert await limit_of(client) == 20
        await admin.set_rules("api", rules(30))
        assert await limit_of(client) == 30
        assert value(await scrape(metrics), "headworks_limiter_rules_current") == 1


async def test_a_reload_reads_the_file_and_tells_its_mistakes(redis: Redis, valkey_url: str, tmp_path: Path) -> None:
    async with (
        limiter(valkey_url, tmp_path) as address,
        LimiterAdminClient(address) as admin,
        LimiterClient(address) as client,
    ):
        (tmp_path / "rules.yaml").write_text(FILE.replace("10/day", "often"))
        (mistake,) = await admin.reload_rules()
        assert (mistake.line, "must be so many per period" in mistake.message) == (6, True)
        assert await limit_of(client) == 10
        (tmp_path / "rules.yaml").write_text(FILE.replace("10/day", "11/day"))
        assert await admin.reload_rules() == []
        assert await limit_of(client) == 11


async def test_blocking_clients_can_too(address: str) -> None:
    def change() -> tuple[int, int, str, int]:
        with SyncLimiterAdminClient(address) as admin:
            version = admin.set_rules("api", rules(20))
            text = admin.get_rules("api").text
            assert admin.validate_rules("api", text) == []
            assert admin.reload_rules() == []
            assert admin.inspect("api", {"user": "ann"}).rules[0].status is not None
            assert admin.count_decisions().rules == ()
            return version, len(admin.list_rules()), text, admin.delete_rules("api", expected_version=version)

    assert await asyncio.to_thread(change) == (1, 2, rules(20), 2)
