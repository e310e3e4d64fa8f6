"""httpx transports that ask the limiter before each request, and report afterwards what the upstream answered.

Each request that goes out is asked for by itself, redirects and what an `Auth` sends included.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Literal, Self, TypedDict, Unpack, cast

import httpx
from headworks_core.errors import Unavailable

from headworks_client.blocking import run
from headworks_client.descriptors import descriptors, permits
from headworks_client.gate import Entered, OnUnavailable, blocking_gate, gate
from headworks_client.httpx.keys import Key, host
from headworks_client.httpx.reports import AsyncReports, Outcome, Reports, SyncReports
from headworks_client.limiter import LimiterClient
from headworks_client.outcomes import limit_fields
from headworks_client.refusals import LimitExceeded
from headworks_client.sync import SyncLimiterClient
from headworks_client.web.answers import about
from headworks_client.web.headers import JSON, Dialect, limit_headers, problem

Cost = Callable[[httpx.Request], int]
OnRefused = Literal["raise", "respond"]

NO_ANSWER = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.RemoteProtocolError,
)
"""What says something of the upstream; a pool without connections, or a request that was given up, does not."""


class RequestRefused(LimitExceeded, httpx.TransportError):
    """The limiter refused the request, and waiting would have taken too long; it was not sent."""

    def __init__(self, refusal: LimitExceeded, request: httpx.Request) -> None:
        httpx.TransportError.__init__(self, str(refusal), request=request)
        self.decision = refusal.decision


class LimiterAway(httpx.TransportError):
    """The limiter could not be asked, and `on_unavailable` says deny; the request was not sent."""


class Options(TypedDict, total=False):
    """What both transports take; `_Limits` says what each is."""

    describe: Mapping[str, Key] | None
    cost: int | Cost | None
    max_wait_s: float
    on_refused: OnRefused
    on_unavailable: OnUnavailable
    report: bool
    sample: float


class _Limits:
    """What both transports are told."""

    def __init__(
        self,
        *,
        describe: Mapping[str, Key] | None = None,
        cost: int | Cost | None = None,
        max_wait_s: float = 0.0,
        on_refused: OnRefused = "raise",
        on_unavailable: OnUnavailable = "allow",
        report: bool = True,
        sample: float = 1.0,
    ) -> None:
        """`describe` says what each descriptor is, by default `host`; a request with none is sent unasked.

        `cost` is in permits; None leaves it to the rules' cost table. A refused request waits as long as the limiter
        says, `max_wait_s` in all; then it is
        RequestRefused, or (`respond`) a 429 whose `extensions` have `headworks`. A limiter that cannot be asked,
        or does not know the namespace, lets everything out or (deny) nothing: LimiterAway, or a 503. What concurrency
        rules hold for a request is given back when its response is closed.

        `report` tells the limiter of answers: those that speak of limits or of trouble, and `sample` (0 to 1) of those
        where all is well, which adaptive limits and breakers must know about to count right.
        """
        if on_refused not in ("raise", "respond"):
            raise ValueError(f"on_refused: raise or respond, not {on_refused}")
        if not 0 <= sample <= 1:
            raise ValueError(f"sample: 0 to 1, not {sample}")
        self._describe = {"host": host} if describe is None else dict(describe)
        self._cost = cost
        self._max_wait_s = max_wait_s
        self._respond = on_refused == "respond"
        self._on_unavailable: OnUnavailable = on_unavailable
        self._report = report
        self._sample = sample

    def _descriptors(self, request: httpx.Request) -> dict[str, str]:
        return descriptors((name, key(request)) for name, key in self._describe.items())

    def _permits(self, request: httpx.Request) -> int | None:
        return permits(self._cost if self._cost is None or isinstance(self._cost, int) else self._cost(request))

    def _refused(self, refusal: LimitExceeded | Unavailable, request: httpx.Request) -> httpx.Response:
        """The answer in place of the upstream's. Raises RequestRefused and LimiterAway where that is wanted."""
        if isinstance(refusal, Unavailable):
            if not self._respond:
                raise LimiterAway(refusal.message, request=request) from refusal
            return _answer(request, 503, about(503, "Service Unavailable", refusal.message), {"retry-after": "1"})
        if not self._respond:
            raise RequestRefused(refusal, request) from None
        if refusal.decision is None:
            return _answer(request, 429, about(429, "Too Many Requests", str(refusal)), {})
        headers = dict(limit_headers(refusal.decision, Dialect.RATELIMIT))
        return _answer(request, 429, problem(refusal.decision), headers)

    def _outcome(
        self, descriptors: Mapping[str, str], began: float, response: httpx.Response | None = None
    ) -> Outcome | None:
        """What is to be reported, if anything is."""
        if not (self._report and descriptors):
            return None
        status, headers = (response.status_code, limit_fields(response.headers)) if response is not None else (0, {})
        outcome = Outcome(descriptors, status, headers, time.perf_counter() - began)
        if outcome.says_something:
            return outcome
        return None if outcome.says_nothing or random.random() >= self._sample else outcome


class _AsyncUntilClosed(httpx.AsyncByteStream):
    """A response's body; what its request holds is held until it is closed."""

    def __init__(self, inner: httpx.AsyncByteStream | httpx.SyncByteStream, entered: Entered) -> None:
        self._inner = cast(httpx.AsyncByteStream, inner)
        self._entered = entered

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._inner.__aiter__()

    async def aclose(self) -> None:
        """See httpx."""
        self._entered.end()
        await self._inner.aclose()


class _UntilClosed(httpx.SyncByteStream):
    """The same for httpx.Client."""

    def __init__(self, inner: httpx.AsyncByteStream | httpx.SyncByteStream, entered: Entered) -> None:
        self._inner = cast(httpx.SyncByteStream, inner)
        self._entered = entered

    def __iter__(self) -> Iterator[bytes]:
        return self._inner.__iter__()

    def close(self) -> None:
        """See httpx."""
        self._inner.close()
        self._entered.end()


class AsyncLimitTransport(_Limits, httpx.AsyncBaseTransport):
    """For httpx.AsyncClient."""

    def __init__(
        self,
        limiter: LimiterClient | str,
        *,
        namespace: str,
        tenant: str = "default",
        transport: httpx.AsyncBaseTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        """`limiter` is a client that is open, or an address to connect to on behalf of `tenant`; `transport` sends.

        `options` are those of `_Limits`: describe, cost, max_wait_s, on_refused, on_unavailable, report, sample.
        """
        super().__init__(**options)
        self._inner = httpx.AsyncHTTPTransport() if transport is None else transport
        self._own = isinstance(limiter, str)
        self._client = LimiterClient(limiter, tenant=tenant) if isinstance(limiter, str) else limiter
        self._opened = not self._own
        self._gate = gate(self._client, namespace, max_wait_s=self._max_wait_s, on_unavailable=self._on_unavailable)
        self._reports = AsyncReports(self._client, namespace)

    @property
    def reports(self) -> Reports:
        """How many answers have been `told`, `failed` to be and were `dropped`."""
        return self._reports

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        descriptors = self._descriptors(request)
        if not self._opened:
            self._client.open()
            self._opened = True
        try:
            entered = await self._gate.enter(descriptors, self._permits(request))
        except (LimitExceeded, Unavailable) as refusal:
            return self._refused(refusal, request)
        began = time.perf_counter()
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            entered.end()
            if isinstance(error, NO_ANSWER):
                self._tell(self._outcome(descriptors, began))
            raise
        self._tell(self._outcome(descriptors, began, response))
        response.stream = _AsyncUntilClosed(response.stream, entered)
        return response

    def _tell(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            self._reports.put(outcome)

    async def aclose(self) -> None:
        """See httpx; what has not been told yet has a second to be."""
        await self._reports.close()
        if self._own and self._opened:
            await self._client.__aexit__(None, None, None)
            self._opened = False
        await self._inner.aclose()


class LimitTransport(_Limits, httpx.BaseTransport):
    """For httpx.Client. Threads may share it."""

    def __init__(
        self,
        limiter: SyncLimiterClient | str,
        *,
        namespace: str,
        tenant: str = "default",
        transport: httpx.BaseTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        """As AsyncLimitTransport. It opens a connection of its own at once, where `limiter` is an address."""
        super().__init__(**options)
        self._inner = httpx.HTTPTransport() if transport is None else transport
        self._own = isinstance(limiter, str)
        self._client = SyncLimiterClient(limiter, tenant=tenant) if isinstance(limiter, str) else limiter
        self._gate = blocking_gate(
            self._client, namespace, max_wait_s=self._max_wait_s, on_unavailable=self._on_unavailable
        )
        self._reports = SyncReports(self._client, namespace)
        if self._own:
            self._client.__enter__()

    @property
    def reports(self) -> Reports:
        """How many answers have been `told`, `failed` to be and were `dropped`."""
        return self._reports

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        descriptors = self._descriptors(request)
        try:
            entered = run(self._gate.enter(descriptors, self._permits(request)))
        except (LimitExceeded, Unavailable) as refusal:
            return self._refused(refusal, request)
        began = time.perf_counter()
        try:
            response = self._inner.handle_request(request)
        except BaseException as error:
            entered.end()
            if isinstance(error, NO_ANSWER):
                self._tell(self._outcome(descriptors, began))
            raise
        self._tell(self._outcome(descriptors, began, response))
        response.stream = _UntilClosed(response.stream, entered)
        return response

    def _tell(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            self._reports.put(outcome)

    def close(self) -> None:
        """See httpx; what has not been told yet has a second to be."""
        self._reports.close()
        if self._own:
            self._client.__exit__(None, None, None)
        self._inner.close()


def _answer(request: httpx.Request, status: int, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    told = {"content-type": JSON, **headers}
    return httpx.Response(status, headers=told, content=body, request=request, extensions={"headworks": True})
