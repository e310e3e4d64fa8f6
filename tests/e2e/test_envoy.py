"""Real Envoy with its rate limit filter in front of an API, the limiter behind it: the files of examples/envoy."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest
from headworks_devkit.backends.valkey import valkey

from tests.support.envoy import EXAMPLES, running_envoy, upstream
from tests.support.suite import Suite, running_suite
from tests.support.wait import wait_until

DENY = "failure_mode_deny: true"
REFUND = """
                        - match: {path: /refund}
                          route: {cluster: upstream}
                          typed_per_filter_config:
                            envoy.filters.http.ratelimit:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute
                              rate_limits:
                                - actions:
                                    - request_headers: {header_name: x-user, descriptor_key: user}
                                  hits_addend: {number: 3, is_negative_hits: true}
                        - match: {path: /bulk}
                          route: {cluster: upstream}
                          typed_per_filter_config:
                            envoy.filters.http.ratelimit:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute
                              rate_limits:
                                - actions:
                                    - request_headers: {header_name: x-user, descriptor_key: user}
                                  hits_addend: {number: 4}
"""


@pytest.fixture
async def suite(tmp_path: Path) -> AsyncIterator[Suite]:
    """A limiter with the example's rules; a day is a year here, so that no midnight comes between."""
    rules = tmp_path / "envoy-rules.yaml"
    rules.write_text((EXAMPLES / "rules.yaml").read_text().replace("unit: day", "unit: year"))
    async with valkey() as server, running_suite(server, None, tmp_path) as started:
        await started.limiter(rules="namespaces: {}", envoy_rules=str(rules), envoy_headers="true")
        yield started


def port_of(suite: Suite) -> str:
    return suite.limits.rpartition(":")[2]


async def get(client: httpx.AsyncClient, path: str = "/", user: str = "") -> httpx.Response:
    return await client.get(path, headers={"x-user": user} if user else {})


async def statuses(client: httpx.AsyncClient, count: int, path: str = "/", user: str = "") -> list[int]:
    return [(await get(client, path, user)).status_code for _ in range(count)]


async def test_envoy_lets_pass_what_the_rules_allow_and_answers_429_beyond(suite: Suite, tmp_path: Path) -> None:
    async with (
        upstream() as port,
        running_envoy(tmp_path, upstream_port=port, limiter_port=port_of(suite)) as client,
    ):
        allowed = [await get(client, user="ann") for _ in range(5)]
        refused = await get(client, user="ann")

        assert [response.status_code for response in allowed] == [200] * 5
        assert [response.text for response in allowed] == ["hello"] * 5
        assert [response.headers["ratelimit-remaining"] for response in allowed] == ["4", "3", "2", "1", "0"]
        assert refused.status_code == 429
        assert refused.headers["x-envoy-ratelimited"] == "true"
        assert refused.headers["ratelimit-limit"] == "5"
        assert refused.headers["ratelimit-remaining"] == "0"
        assert 0 < int(refused.headers["ratelimit-reset"]) <= 365 * 86_400
        assert refused.headers["x-ratelimit-limit"].startswith("5, ")  # Envoy's own, from the filled statuses
        assert refused.headers["x-ratelimit-remaining"] == "0"

        assert await statuses(client, 1, user="bob") == [200]
        assert await statuses(client, 7, user="paying-bob") == [200] * 7
        assert await statuses(client, 7, user="house") == [200] * 7


async def test_routes_have_descriptors_of_their_own(suite: Suite, tmp_path: Path) -> None:
    async with (
        upstream() as port,
        running_envoy(tmp_path, upstream_port=port, limiter_port=port_of(suite)) as client,
    ):
        assert await statuses(client, 3, "/search", "ann") == [200, 200, 429]
        assert await statuses(client, 3, "/", "ann") == [200, 200, 429]  # of 5, the refused search was the third
        assert await statuses(client, 4, "/export") == [200] * 4  # on trial


async def test_hits_of_a_route_count_more_and_are_given_back(suite: Suite, tmp_path: Path) -> None:
    def more(text: str) -> str:
        return text.replace("                      routes:\n", "                      routes:\n" + REFUND.lstrip("\n"))

    async with (
        upstream() as port,
        running_envoy(tmp_path, upstream_port=port, limiter_port=port_of(suite), change=more) as client,
    ):
        assert await statuses(client, 2, "/bulk", "ann") == [200, 429]  # 4 of 5, then 8
        assert await statuses(client, 2, "/refund", "ann") == [200, 200]  # 2 are left of them
        assert await statuses(client, 4, "/", "ann") == [200, 200, 200, 429]


async def test_our_death_is_what_failure_mode_deny_says(suite: Suite, tmp_path: Path) -> None:
    def deny(text: str) -> str:
        return text.replace("failure_mode_deny: false", DENY)

    def deny_as_503(text: str) -> str:
        return deny(text).replace(DENY, f"status_on_error: {{code: 503}}\n                      {DENY}")

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(upstream())
        passing, denying, telling = [
            await stack.enter_async_context(
                running_envoy(tmp_path, upstream_port=port, limiter_port=port_of(suite), change=change)
            )
            for change in (str, deny, deny_as_503)
        ]
        assert await statuses(passing, 3, user="ann") + await statuses(denying, 3, user="ann") == [200] * 5 + [429]

        os.kill(suite.pids["limiter"], signal.SIGKILL)
        await wait_until(lambda: "limiter" not in suite.pids, 30, what="the limiter is dead")
        assert await statuses(passing, 3, user="ann") == [200, 200, 200]
        assert await statuses(denying, 3, user="bob") == [500, 500, 500]
        assert await statuses(telling, 3, user="bob") == [503, 503, 503]

        await suite.restart("limiter")
        for client in (passing, denying, telling):
            await wait_until(partial(refuses, client, "ann"), 60, what="the limiter is asked again")
        assert await statuses(denying, 1, user="bob") == [200]


async def refuses(client: httpx.AsyncClient, user: str) -> bool:
    return (await get(client, user=user)).status_code == 429
