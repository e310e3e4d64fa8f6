"""Methods as the HTTP front calls them: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2

from headworks_core.serving import Health, Registered, Unreadable

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Method:
    """One method of a service, with what reads and writes its messages."""

    __slots__ = ("_reply", "_request", "bidirectional", "handle", "parse", "serialize", "streaming")

    def __init__(self, service: str, name: str, handler: Any) -> None:
        """`handler` is one that `headworks_core.serving.bind` made."""
        self._request, self._reply = _messages(service, name)
        self.parse: Callable[[bytes], Any] = handler.request_deserializer
        self.serialize: Callable[[Any], bytes] = handler.response_serializer
        self.bidirectional: bool = handler.request_streaming
        self.streaming: bool = handler.response_streaming
        self.handle: Any = handler.stream_stream or handler.unary_stream or handler.unary_unary

    @property
    def has_json(self) -> bool:
        """Whether the service's descriptors are here; without them its messages have no JSON."""
        return self._request is not None

    def parse_json(self, text: bytes) -> Any:
        """The request that JSON stands for; fields that do not exist are mistakes."""
        try:
            message = json_format.Parse(text or b"{}", self._request())
        except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
            return Unreadable(str(error)[:500])
        return self.parse(message.SerializeToString())

    def as_json(self, reply: bytes) -> bytes:
        """A reply as JSON, with the fields that are 0, false or empty."""
        message = self._reply.FromString(reply)
        return json_format.MessageToJson(message, always_print_fields_with_no_presence=True, indent=None).encode()


def _messages(service: str, method: str) -> tuple[Any, Any]:
    """The classes of a method's request and reply, where generated code has told of its service."""
    try:
        told = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
    except KeyError:
        return None, None
    return message_factory.GetMessageClass(told.input_type), message_factory.GetMessageClass(told.output_type)


def methods_of(services: Sequence[Registered], health: Health) -> dict[str, Method]:
    """Every method by its path, those of the health service among them."""
    check = grpc.unary_unary_rpc_method_handler(
        health.servicer.Check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    watch = grpc.unary_stream_rpc_method_handler(
        health.servicer.Watch,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    every = [*services, Registered(HEALTH, {"Check": check, "Watch": watch})]
    return {
        f"/{service.name}/{name}": Method(service.name, name, handler)
        for service in every
        for name, handler in service.handlers.items()
    }
