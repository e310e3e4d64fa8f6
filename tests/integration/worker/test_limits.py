"""Waiting for permits inside a handler."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import grpc
import pytest
from headworks.limiter.v1 import limiter_pb2
from headworks.worker.v1 import session_pb2 as pb
from headworks_client import LimiterClient
from headworks_client.durations import to_duration
from headworks_core.errors import NotFound
from headworks_worker import Context, task

from tests.integration.worker.conftest import Attach
from tests.support.fake_api import FakeApi, fake_api
from tests.support.fake_scheduler import refs
from tests.support.wait import wait_until


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """A limiter that decides as the test says."""
    async with fake_api() as fake:
        yield fake


@pytest.fixture
async def limiter(api: FakeApi) -> AsyncIterator[LimiterClient]:
    """A client of it."""
    async with LimiterClient(api.address) as client:
        yield client


@task(name="asks")
async def asks(ctx: Context) -> int:
    """Takes two permits."""
    return (await ctx.acquire("n", {"k": "v"}, 2)).permits


@task(name="asks-in-thread")
def asks_in_thread(ctx: Context) -> int:
    """The same on a thread."""
    return ctx.acquire_blocking("n", {"k": "v"}, 2).permits


def refusing(times: int, wait_s: float) -> list[limiter_pb2.Decision]:
    """Decisions, the last of which is a grant."""
    refused = limiter_pb2.Decision(refusal=limiter_pb2.REFUSAL_LIMITED, retry_after=to_duration(wait_s))
    return [refused] * times + [limiter_pb2.Decision(allowed=True, permits=2)]


@pytest.mark.parametrize("chosen", [asks, asks_in_thread])
async def test_a_refused_handler_waits_as_long_as_it_is_told_and_asks_again(
    api: FakeApi, limiter: LimiterClient, attach: Attach, chosen: object
) -> None:
    decisions = iter(refusing(2, 0.1))
    api.decide = lambda request: next(decisions)
    async with attach(asks, asks_in_thread, limiter=limiter) as session:
        began = time.monotonic()
        await session.assign(getattr(chosen, "name", ""))
        result = await session.result()

    assert result.success.result.data == b"2"
    assert time.monotonic() - began >= 0.2
    assert len(api.requests) == 3
    assert len({request.request.request_id for request in api.requests}) == 1


async def test_a_limiter_that_is_away_is_waited_for(api: FakeApi, limiter: LimiterClient, attach: Attach) -> None:
    api.failures.extend([grpc.StatusCode.UNAVAILABLE] * 6)  # more than the client itself repeats
    async with attach(asks, limiter=limiter) as session:
        await session.assign("asks")

        assert (await session.result()).success.result.data == b"2"


async def test_what_the_limiter_refuses_for_good_fails_the_attempt(
    api: FakeApi, limiter: LimiterClient, attach: Attach
) -> None:
    api.failures.append(NotFound("there is no namespace n"))
    async with attach(asks, limiter=limiter) as session:
        await session.assign("asks")

        assert (await session.result()).failed.failure.error_class == "headworks_core.errors.NotFound"


@pytest.mark.parametrize("name", ["asks", "asks-in-thread"])
async def test_a_handler_that_waits_for_permits_can_be_cancelled(
    api: FakeApi, limiter: LimiterClient, attach: Attach, name: str
) -> None:
    api.decide = lambda request: refusing(1, 60)[0]
    async with attach(asks, asks_in_thread, limiter=limiter) as session:
        jobs = await session.assign(name)
        await wait_until(lambda: len(api.requests) == 1)
        await session.send(cancel=pb.Cancel(leases=refs(jobs)))

        assert (await session.result()).released.reason == "cancelled"
