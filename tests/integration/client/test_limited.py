"""The decorator: functions of both kinds, a real limiter before them."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator
from typing import Any, assert_type

import pytest
from headworks_client import LimiterClient, LimitExceeded, SyncLimiterClient, limited
from headworks_client.limited import of_request
from headworks_client.web import route
from headworks_core.errors import Unavailable

from tests.integration.limiter.serving import running
from tests.support.ports import free_port

RULES = """
namespaces:
  api:
    rules:
      - {name: per-user, match: {user: "*"}, limit: 3/day}
      - {name: paced, match: {pace: "*"}, limit: 5/second, burst: 1}
"""


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Where a limiter listens."""
    async with running("memory:", RULES) as limiter:
        yield limiter.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[LimiterClient]:
    """A client of it."""
    async with LimiterClient(address) as opened:
        yield opened


async def test_a_coroutine_function_runs_until_a_limit_is_used_up(client: LimiterClient) -> None:
    ran: list[str] = []

    @limited(client, "api", describe={"user": lambda user, times=1: user}, cost=lambda user, times=1: times)
    async def greet(user: str, times: int = 1) -> str:
        """Says hello."""
        ran.append(user)
        return f"hello, {user}" * times

    assert assert_type(await greet("ann", times=2), str) == "hello, annhello, ann"
    with pytest.raises(LimitExceeded, match="the limit of rule per-user is used up; try again in") as refused:
        await greet("ann", 2)
    assert await greet("ben") == "hello, ben"
    assert await greet("ann") == "hello, ann"

    assert ran == ["ann", "ben", "ann"]
    assert 86_400 / 3 - 30 < refused.value.retry_after_s <= 86_400 / 3
    assert refused.value.decision is not None
    assert (greet.__name__, greet.__doc__) == ("greet", "Says hello.")
    assert list(inspect.signature(greet).parameters) == ["user", "times"]


async def test_a_plain_function_runs_until_a_limit_is_used_up(address: str) -> None:
    def work() -> list[int]:
        with SyncLimiterClient(address) as blocking:

            @limited(blocking, "api", describe={"user": "ann"}, on_refused=lambda refusal: -1)
            def count(number: int) -> int:
                return number

            assert_type(count(0), int)
            return [count(number) for number in range(4)]

    assert await asyncio.to_thread(work) == [0, 1, -1, -1]


async def test_what_comes_soon_is_waited_for(client: LimiterClient) -> None:
    @limited(client, "api", describe={"pace": "p"}, max_wait_s=60)
    async def step() -> None:
        pass

    began = time.monotonic()
    await asyncio.gather(*(step() for _ in range(3)))
    assert time.monotonic() - began >= 0.4


async def test_a_refusal_becomes_what_is_wanted(client: LimiterClient) -> None:
    async def later(refusal: LimitExceeded) -> str:
        return f"later: {refusal.retry_after_s > 0}"

    @limited(client, "api", describe={"user": "ann"}, cost=3, on_refused=later)
    async def awaited() -> str:
        return "done"

    @limited(client, "api", describe={"user": "ann"}, cost=4, on_refused=str)
    async def never() -> str:
        return "done"

    assert [await awaited(), await awaited()] == ["done", "later: True"]
    assert await never() == "permits 4 exceed the 3 that rule per-user can ever hold"


async def test_a_call_without_descriptors_is_not_limited(client: LimiterClient) -> None:
    @limited(client, "api", describe={"user": lambda user: user})
    async def greet(user: str | None) -> int:
        return 1

    assert sum([await greet(None) for _ in range(5)]) == 5


@pytest.mark.parametrize("namespace", ["api", "other"])
async def test_a_limiter_that_cannot_decide_is_what_the_setting_says(address: str, namespace: str) -> None:
    target = address if namespace == "other" else f"127.0.0.1:{free_port()}"
    async with LimiterClient(target) as client:

        @limited(client, namespace, describe={"user": "ann"})
        async def open_() -> int:
            return 1

        @limited(client, namespace, describe={"user": "ann"}, on_unavailable="deny")
        async def shut() -> int:
            return 1

        assert await open_() == 1
        with pytest.raises(Unavailable, match="the limiter cannot be asked"):
            await shut()


def test_a_function_of_the_other_kind_is_an_error_at_once() -> None:
    def plain() -> None: ...

    async def coroutine() -> None: ...

    options: dict[str, Any] = {"describe": {"user": "ann"}}
    with pytest.raises(TypeError, match="is no coroutine function: limit it with a SyncLimiterClient"):
        limited(LimiterClient("127.0.0.1:1"), "api", **options)(plain)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is a coroutine function: limit it with a LimiterClient"):
        limited(SyncLimiterClient("127.0.0.1:1"), "api", **options)(coroutine)
    with pytest.raises(ValueError, match="max_wait_s: 0 or more"):
        limited(LimiterClient("127.0.0.1:1"), "api", max_wait_s=-1, **options)


def test_a_key_of_requests_needs_a_request() -> None:
    class Request:
        scope = {"method": "GET", "path": "/x"}  # noqa: RUF012 - as Starlette's is

    assert of_request(route)(1, Request()) == "GET /x"
    assert of_request(route)(request=Request()) == "GET /x"
    with pytest.raises(TypeError, match="no argument of the limited function is a request"):
        of_request(route)(1, "x")
