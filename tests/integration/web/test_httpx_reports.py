"""What the httpx transports tell the limiter of answers, and that nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from headworks.limiter.v1.limiter_service_pb2 import ReportOutcomeRequest
from headworks_client import LimiterClient, SyncLimiterClient
from headworks_client.httpx import AsyncLimitTransport, LimitTransport
from headworks_client.httpx.reports import CAPACITY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.integration.web.serving import serving
from tests.support.fake_api import FakeApi, fake_api
from tests.support.listening import deaf, listening
from tests.support.ports import free_port
from tests.support.wait import wait_until

HEADERS = {"Retry-After": "7", "X-RateLimit-Remaining": "0", "Set-Cookie": "secret"}


async def answer(request: Request) -> Response:
    """/<status>, with rate headers on /429 and /299."""
    status = int(request.path_params["status"])
    return Response("x", status, headers=HEADERS if status in {429, 299} else {})


APP = Starlette(routes=[Route("/{status:int}", answer)])


class Caller:
    """A client of either kind."""

    def __init__(self, client: httpx.AsyncClient | httpx.Client, transport: Any) -> None:
        self._client = client
        self.transport = transport

    async def get(self, path: str) -> httpx.Response:
        """A GET."""
        if isinstance(self._client, httpx.AsyncClient):
            return await self._client.get(path)
        return await asyncio.to_thread(self._client.get, path)


@asynccontextmanager
async def calling(
    kind: str, limiter: str, upstream: str, *, read_s: float = 30, **options: Any
) -> AsyncIterator[Caller]:
    """A client whose requests the limiter hears of. It outlives the transport, which has its last words first."""
    told: dict[str, Any] = {"base_url": f"http://{upstream}", "timeout": httpx.Timeout(30, read=read_s)}
    if kind == "async":
        async with LimiterClient(limiter, timeout_s=60) as limiting:
            transport = AsyncLimitTransport(limiting, namespace="out", **options)
            async with httpx.AsyncClient(transport=transport, **told) as client:
                yield Caller(client, transport)
        return
    with SyncLimiterClient(limiter, timeout_s=60) as blocking:
        sync_transport = LimitTransport(blocking, namespace="out", **options)
        sync_client = httpx.Client(transport=sync_transport, **told)
        try:
            yield Caller(sync_client, sync_transport)
        finally:
            await asyncio.to_thread(sync_client.close)


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which of the two transports."""
    return str(request.param)


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """A limiter that keeps what it hears."""
    async with fake_api() as fake:
        yield fake


def reported(api: FakeApi) -> list[ReportOutcomeRequest]:
    return [request for request in api.requests if isinstance(request, ReportOutcomeRequest)]


async def told(caller: Caller, count: int) -> None:
    """Wait until so many reports have been told."""

    async def enough() -> bool:
        return bool(caller.transport.reports.told >= count)

    await wait_until(enough, 30, what=f"{count} reports")


async def test_answers_are_reported_with_what_they_say_of_limits(kind: str, api: FakeApi) -> None:
    async with serving(APP) as upstream, calling(kind, api.address, upstream) as caller:
        for status in (200, 299, 429, 500, 503):
            assert (await caller.get(f"/{status}")).status_code == status
        await told(caller, 5)

    first, *_ = heard = reported(api)
    assert [report.status for report in heard] == [200, 299, 429, 500, 503]
    assert (first.namespace, dict(first.descriptors)) == ("out", {"host": upstream})
    for report in heard:
        limits = {name: value for name, value in report.headers.items() if name != "date"}
        expected = {"retry-after": "7", "x-ratelimit-remaining": "0"} if report.status in {299, 429} else {}
        assert limits == expected
        assert 0 < report.latency.ToMicroseconds() < 30_000_000


async def test_requests_without_an_answer_are_reported_as_such(kind: str, api: FakeApi) -> None:
    async with listening(deaf) as port, calling(kind, api.address, f"127.0.0.1:{port}", read_s=0.2) as caller:
        with pytest.raises(httpx.ReadTimeout):
            await caller.get("/200")
        await told(caller, 1)
    async with calling(kind, api.address, f"127.0.0.1:{free_port()}") as caller:
        with pytest.raises(httpx.ConnectError):
            await caller.get("/200")
        await told(caller, 1)

    assert [report.status for report in reported(api)] == [0, 0]


async def test_what_says_nothing_of_the_upstream_is_not_reported(kind: str, api: FakeApi) -> None:
    async with serving(APP) as upstream, calling(kind, api.address, upstream, sample=0) as caller:
        for status in (200, 404, 299, 302, 401, 500):
            await caller.get(f"/{status}")
        await told(caller, 2)
    async with serving(APP) as upstream, calling(kind, api.address, upstream, report=False) as caller:
        await caller.get("/429")
    async with serving(APP) as upstream, calling(kind, api.address, upstream, describe={}) as caller:
        await caller.get("/429")

    assert [report.status for report in reported(api)] == [299, 500]


async def test_what_was_not_told_in_time_is_told_at_the_end(
    kind: str, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headworks_client.httpx.reports.LAST_WORDS_S", 30.0)
    async with serving(APP) as upstream, calling(kind, api.address, upstream) as caller:
        await caller.get("/500")
    assert [report.status for report in reported(api)] == [500]
    assert (caller.transport.reports.told, caller.transport.reports.dropped) == (1, 0)


async def test_a_limiter_that_does_not_answer_reports_slows_nobody_and_what_is_too_much_is_dropped(
    kind: str, api: FakeApi
) -> None:
    api.reports_taken.clear()
    count = CAPACITY + 20
    async with serving(APP) as upstream, calling(kind, api.address, upstream) as caller:
        answers = [(await caller.get("/500")).status_code for _ in range(count)]
        reports = caller.transport.reports
        assert (answers, reports.told, reports.failed) == ([500] * count, 0, 0)
        assert reports.dropped in {19, 20}  # one may be on its way
    assert reports.told == 0
    api.reports_taken.set()


async def test_a_report_that_fails_is_counted_and_fails_no_call(kind: str) -> None:
    async with serving(APP) as upstream, calling(kind, f"127.0.0.1:{free_port()}", upstream) as caller:
        assert (await caller.get("/500")).status_code == 500

        async def failed() -> bool:
            return bool(caller.transport.reports.failed == 1)

        await wait_until(failed, 30, what="a failure")
        assert caller.transport.reports.told == 0
