"""The limiter in front of a gRPC server: interceptors for grpc.aio and for the blocking server.

    server = grpc.aio.server(interceptors=[
        LimitInterceptor(limiter, namespace="internal", describe={"method": method, "caller": metadata("x-caller")}),
    ])

A refusal is RESOURCE_EXHAUSTED with google.rpc.RetryInfo and QuotaFailure, which names the rules. What concurrency
rules hold for a call is given back when it has ended.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from headworks_core.errors import Reason, ServiceError

from headworks_client.decisions import Decision
from headworks_client.descriptors import descriptors, permits
from headworks_client.holding import BlockingHold, Hold
from headworks_client.limiter import LimiterClient
from headworks_client.sync import SyncLimiterClient

Details = Any
"""grpc.HandlerCallDetails: the method's full name and the metadata."""
Key = Callable[[Details], str | None]
"""The value of one descriptor; None: this call has none."""
Cost = Callable[[Details], int]
Wish = Literal["allow", "deny"]

log = logging.getLogger(__name__)

HEALTH = "/grpc.health.v1.Health/*"


def method(details: Details) -> str:
    """The full name, `/package.Service/Method`."""
    return str(details.method)


def metadata(name: str) -> Key:
    """The value of an entry of the call's metadata, e.g. of a caller's name that something before us has checked."""
    wanted = name.lower()

    def read(details: Details) -> str | None:
        return next((str(value) for key, value in details.invocation_metadata or () if key == wanted and value), None)

    return read


class _Limits:
    """What both interceptors are told."""

    def __init__(
        self,
        *,
        namespace: str,
        describe: Mapping[str, Key] | None = None,
        cost: int | Cost | None = None,
        exclude: Sequence[str] = (HEALTH,),
        on_unavailable: Wish = "allow",
    ) -> None:
        """`describe` says what each descriptor is, by default `method`; a call with none, or whose method fits one of
        `exclude`, is let through unasked. `cost` is in permits; None leaves it to the rules' cost table.
        A limiter that cannot be asked, or does not know the namespace, lets everything through or (deny) nothing:
        UNAVAILABLE.
        """
        self._namespace = namespace
        self._describe = {"method": method} if describe is None else dict(describe)
        self._cost = cost
        self._exclude = tuple(exclude)
        self._on_unavailable = on_unavailable

    def _descriptors(self, details: Details) -> dict[str, str]:
        if any(fnmatchcase(details.method, pattern) for pattern in self._exclude):
            return {}
        return descriptors((name, key(details)) for name, key in self._describe.items())

    def _permits(self, details: Details) -> int | None:
        return permits(self._cost if self._cost is None or isinstance(self._cost, int) else self._cost(details))

    def _undecided(self, error: ServiceError) -> status_pb2.Status | None:
        """The status to end the call with, if it may not go on."""
        if error.reason is Reason.PERMITS_EXCEED_LIMIT:  # asking again would never help
            return _status(grpc.StatusCode.RESOURCE_EXHAUSTED, error.message)
        log.warning("the limiter did not decide: %s (%s)", error.message, self._on_unavailable)
        if self._on_unavailable == "allow":
            return None
        return _status(grpc.StatusCode.UNAVAILABLE, "the limiter cannot be asked", _retry_info(1.0))


class LimitInterceptor(_Limits, grpc.aio.ServerInterceptor):
    """For grpc.aio. The client must be open, on the server's event loop."""

    def __init__(self, limiter: LimiterClient, **options: Any) -> None:
        """`options` are those of `_Limits`: namespace, describe, cost, exclude, on_unavailable."""
        super().__init__(**options)
        self._limiter = limiter

    async def intercept_service(self, continuation: Any, handler_call_details: Details) -> Any:
        """See grpc."""
        handler = await continuation(handler_call_details)
        descriptors = self._descriptors(handler_call_details)
        if handler is None or not descriptors:
            return handler
        try:
            permits = self._permits(handler_call_details)
            decision = await self._limiter.consume(self._namespace, descriptors, permits)
        except ServiceError as error:
            status = self._undecided(error)
        else:
            if decision.allowed:
                hold = Hold(self._limiter, decision)
                return _holding(handler, hold) if decision.grant_id or decision.wait_s else handler
            status = refusal(decision)
        return handler if status is None else _refusing(status)


class SyncLimitInterceptor(_Limits, grpc.ServerInterceptor):
    """For the blocking server. The client must be open; it is asked on the threads of the server's pool."""

    def __init__(self, limiter: SyncLimiterClient, **options: Any) -> None:
        """`options` are those of `_Limits`: namespace, describe, cost, exclude, on_unavailable."""
        super().__init__(**options)
        self._limiter = limiter

    def intercept_service(self, continuation: Any, handler_call_details: Details) -> Any:
        """See grpc. This runs on the one thread that takes calls in, so the question waits until the handler runs."""
        handler = continuation(handler_call_details)
        descriptors = self._descriptors(handler_call_details)
        if handler is None or not descriptors:
            return handler
        permits = self._permits(handler_call_details)

        call = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream

        def handle(request: Any, context: Any) -> Any:
            status = self._ask(descriptors, permits, context)
            if status is not None:
                context.abort_with_status(rpc_status.to_status(status))
            return call(request, context)

        return _like(handler, handle)

    def _ask(self, descriptors: Mapping[str, str], permits: int | None, context: Any) -> status_pb2.Status | None:
        try:
            decision = self._limiter.consume(self._namespace, descriptors, permits)
        except ServiceError as error:
            return self._undecided(error)
        if not decision.allowed:
            return refusal(decision)
        if decision.grant_id:
            hold = BlockingHold(self._limiter, decision)
            hold.begin()
            if not context.add_callback(lambda: hold.end(wait=False)):
                hold.end()
        if decision.wait_s:
            time.sleep(decision.wait_s)
        return None


def refusal(decision: Decision) -> status_pb2.Status:
    """The rich status of a refused call."""
    rules = decision.rules or ((decision.governing,) if decision.governing else ())
    failure = error_details_pb2.QuotaFailure()
    for rule in rules:
        if not (rule.allowed or rule.shadow):
            failure.violations.add(subject=rule.rule, description=f"the limit of {rule.limit:,} is used up")
    details: list[Message] = [failure] if failure.violations else []
    wait = ""
    if decision.retry_after_s > 0:
        details.append(_retry_info(decision.retry_after_s))
        wait = f"; try again in {decision.retry_after_s:.3f} s"
    return _status(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a limit is used up{wait}", *details)


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromMicroseconds(round(seconds * 1e6))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def _status(code: grpc.StatusCode, message: str, *details: Message) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _holding(handler: Any, hold: Hold) -> Any:
    """The same handler, which waits until the permits begin, and holds what is held until the call has ended.

    Handlers that are no coroutines stay as they are: grpc.aio runs them on threads; what they hold ends by itself.
    """
    call = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream

    async def begin(context: Any) -> None:
        hold.begin()
        context.add_done_callback(lambda _: hold.end())
        await asyncio.sleep(hold.decision.wait_s)

    async def answer(request: Any, context: Any) -> Any:
        await begin(context)
        return await call(request, context)

    async def stream(request: Any, context: Any) -> Any:
        await begin(context)
        async for message in call(request, context):
            yield message

    if inspect.isasyncgenfunction(call):
        return _like(handler, stream)
    return _like(handler, answer) if inspect.iscoroutinefunction(call) else handler


def _like(handler: Any, call: Callable[[Any, Any], Any]) -> Any:
    """A handler of the same kind."""
    codec = (handler.request_deserializer, handler.response_serializer)
    kinds = (
        (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
        (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
        (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
        (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
    )
    return next(make(call, *codec) for known, make in kinds if known is not None)


def _refusing(status: status_pb2.Status) -> Any:
    """A handler that ends a call of any kind at once, without waiting for a message."""
    found = rpc_status.to_status(status)

    async def refuse(_: Any, context: Any) -> None:
        context.set_trailing_metadata(found.trailing_metadata)
        await context.abort(found.code, found.details)

    return grpc.stream_stream_rpc_method_handler(refuse)
