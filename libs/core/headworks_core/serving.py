"""A gRPC server around servicers that know nothing of their transport.

A servicer's unary method takes (request, CallContext) and returns the reply; a server-streaming one is an async
generator of replies; a bidirectional one takes (MessageStream, CallContext). Errors, call context and spans are added
here, once, when a method is registered, so that a call passes through no chain of interceptors.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from headworks_core import context, telemetry
from headworks_core.errors import InvalidArgument, ServiceError
from headworks_core.grpc_errors import abort
from headworks_core.measured import measured_stream, measured_unary

log = structlog.get_logger(__name__)

Req = TypeVar("Req")
Res = TypeVar("Res")
Context = grpc.aio.ServicerContext[Any, Any]
Codec = tuple[Callable[[bytes], Any], Callable[[Any], bytes]]
"""What parses a request and what serialises a reply."""
GC_THRESHOLD = 20_000  # new containers between two collections of the youngest; CPython: 700
SETTLE_S = 1.0
READINESS = "readiness"
LIVENESS = "liveness"


class MessageStream(Generic[Req, Res]):
    """Both directions of one bidirectional call."""

    def __init__(self, call: Context) -> None:
        self._call = call
        self._writing: asyncio.Future[None] | None = None

    async def read(self) -> Req | None:
        """The next message; None when the caller has half-closed. InvalidArgument when it cannot be decoded."""
        message = await self._call.read()
        return None if message is grpc.aio.EOF else _read(message)

    async def write(self, message: Res) -> None:
        """Hand a message to the transport. Never twice at a time; cancelling does not stop a write that began."""
        self._writing = asyncio.ensure_future(self._call.write(message))
        await asyncio.shield(self._writing)

    async def settle(self) -> None:
        """Wait for a write that was cancelled: gRPC cannot send a status while one is under way."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=SETTLE_S)
            if not self._writing.cancelled() and self._writing.done():
                self._writing.exception()  # whoever awaited it has heard of it, or is gone


@dataclass
class Registered:
    """The methods of one service, wrapped and ready to be added to a server."""

    name: str
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = field(default_factory=dict)


class _Recorder:
    """Stands in for a server, to take the handlers that generated code registers."""

    def __init__(self, codecs: Mapping[str, Codec]) -> None:
        self.services: list[Registered] = []
        self._codecs = codecs

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Not needed: the registered handlers are the same."""

    def add_registered_method_handlers(self, name: str, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        wrapped = {m: _wrap(f"{name}/{m}", h, self._codecs.get(m)) for m, h in handlers.items()}
        self.services.append(Registered(name, wrapped))


def bind(
    add_to_server: Callable[[Any, Any], None], servicer: object, codecs: Mapping[str, Codec] | None = None
) -> Registered:
    """Wrap a servicer's methods; `add_to_server` is the generated function for its service.

    `codecs` has, by method, what reads requests and writes replies in place of the generated messages.
    """
    recorder = _Recorder(codecs or {})
    add_to_server(servicer, recorder)
    return recorder.services[0]


def _wrap(method: str, handler: Any, own: Codec | None) -> grpc.RpcMethodHandler[Any, Any]:
    parse, serialize = own or (handler.request_deserializer, handler.response_serializer)
    codec: dict[str, Any] = {"request_deserializer": _decoder(parse), "response_serializer": serialize}
    if handler.request_streaming:
        streams = measured_stream(method, _bidi(method, handler.stream_stream))
        return grpc.stream_stream_rpc_method_handler(streams, **codec)
    if handler.response_streaming:
        stream = measured_stream(method, _server_stream(method, handler.unary_stream))
        return grpc.unary_stream_rpc_method_handler(stream, **codec)
    unary = measured_unary(method, _unary(method, handler.unary_unary))
    return grpc.unary_unary_rpc_method_handler(unary, **codec)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is not what the method takes."""

    why: str = ""


def _decoder(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """`parse`, but what it cannot decode is answered by us, not by gRPC as our own failure."""

    def decode(raw: bytes) -> Any:
        try:
            return parse(raw)
        except DecodeError:
            return Unreadable()

    return decode


def _read(message: Any) -> Any:
    if type(message) is Unreadable:
        raise InvalidArgument("the message cannot be decoded" + (f": {message.why}" if message.why else ""))
    return message


def _unary(method: str, call: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    async def handle(request: Any, rpc: Context) -> Any:
        try:
            caller = context.from_metadata(rpc.invocation_metadata(), rpc.time_remaining())
            if not _traced(caller.traceparent):
                return await call(_read(request), caller)
            with _server_span(method, caller.traceparent) as span:
                return await call(_read(request), _continued(caller, telemetry.traceparent_of(span)))
        except Exception as error:
            await _fail(method, rpc, error)

    return handle


def _server_stream(method: str, call: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
    async def handle(request: Any, rpc: Context) -> None:
        try:
            caller = context.from_metadata(rpc.invocation_metadata(), rpc.time_remaining())
            async for reply in call(_read(request), caller):
                await rpc.write(reply)
        except Exception as error:
            await _fail(method, rpc, error)

    return handle


def _bidi(method: str, call: Callable[[Any, Any], Awaitable[None]]) -> Any:
    async def handle(_: Any, rpc: Context) -> None:
        stream = MessageStream[Any, Any](rpc)
        try:
            caller = context.from_metadata(rpc.invocation_metadata(), rpc.time_remaining())
            await call(stream, caller)
            await stream.settle()
        except Exception as error:
            await stream.settle()
            await _fail(method, rpc, error)

    return handle


def _traced(traceparent: str) -> bool:
    return telemetry.is_sampled(traceparent) or (not traceparent and telemetry.TRACING.exports)


def _server_span(method: str, traceparent: str) -> Any:
    return telemetry.span(method, telemetry.SERVER, traceparent, {"rpc.system.name": "grpc", "rpc.method": method})


def _continued(caller: context.CallContext, traceparent: str) -> context.CallContext:
    return context.CallContext(caller.tenant, caller.principal, caller.scopes, traceparent, caller.deadline)


async def _fail(method: str, rpc: Context, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, ExceptionGroup):  # of a TaskGroup: one cause says it all
        await _fail(method, rpc, error.exceptions[0])
    if isinstance(error, ServiceError) and type(error) is not ServiceError:
        await abort(rpc, error)
    log.error("call.failed", method=method, exc_info=error)
    await abort(rpc, ServiceError("internal error"))


class Health:
    """What `grpc.health.v1` answers: "" and `liveness` while it serves, `readiness` and the services as set."""

    def __init__(self, services: Sequence[str]) -> None:
        self.servicer = HealthServicer()
        self._ready_names = [READINESS, *services]

    async def start(self) -> None:
        """Alive, not yet ready."""
        await self.servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self.set_ready(False)

    async def set_ready(self, ready: bool) -> None:
        """Whether callers should be sent here."""
        for name in self._ready_names:
            await self.set(name, ready)

    async def set(self, name: str, well: bool) -> None:
        """What is answered under one name."""
        serving = health_pb2.HealthCheckResponse.SERVING if well else health_pb2.HealthCheckResponse.NOT_SERVING
        await self.servicer.set(name, serving)


@asynccontextmanager
async def grpc_server(
    services: Sequence[Registered],
    *,
    address: str,
    grace_s: float,
    max_message_bytes: int = 4 << 20,
    max_rpcs: int | None = None,
    drain: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[tuple[int, Health]]:
    """Serve while the block runs; yields the bound port (useful with port 0) and the health to set ready.

    On exit: not ready, then `drain` (tell long streams to go elsewhere), then new calls are refused and running ones
    get `grace_s` seconds. Raises OSError when the address cannot be bound.
    """
    health = Health([service.name for service in services])
    server = grpc.aio.server(options=_options(max_message_bytes), maximum_concurrent_rpcs=max_rpcs)
    for service in services:
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.name, service.handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    await health.start()
    await server.start()
    try:
        yield port, health
    finally:
        await health.set_ready(False)
        if drain is not None:
            await drain()
        await server.stop(grace_s)


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # a port taken by another process is an error, not a silent share
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_metadata_size", 8 << 10),
        ("grpc.max_concurrent_streams", 10_000),
        # Calls that wait to be accepted; gRPC cancels some of a burst beyond 1,000 and all beyond 3,000 by default.
        ("grpc.server.max_pending_requests", 10_000),
        ("grpc.server.max_pending_requests_hard_limit", 20_000),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.max_connection_age_ms", 300_000),
        ("grpc.max_connection_age_grace_ms", 3_600_000),
    ]


async def until_signalled(app: AbstractAsyncContextManager[object]) -> None:
    """Run `app` until SIGTERM or SIGINT, then leave it in order; a second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            loop.remove_signal_handler(signal.SIGTERM)
            loop.remove_signal_handler(signal.SIGINT)
            signal.raise_signal(signal.SIGKILL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with app:
        settle_garbage()
        await stop.wait()
        log.info("service.stopping")
    log.info("service.stopped")


def settle_garbage() -> None:
    """What is here now stays: spare the collector from walking it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """`asyncio.run`, on uvloop where it is installed; a service error at start is one line and exit code 1."""

    async def entry() -> None:
        await main()

    factory = None
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415 - optional

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            runner.run(entry())
        except (ServiceError, OSError) as error:
            log.error("service.failed", error=str(error))
            raise SystemExit(1) from error
