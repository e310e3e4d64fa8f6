"""Requests and results as the bytes they travel as.

A repeated message and a repeated `bytes` field look the same on the wire. Read as bytes, a request that came before
costs a look-up instead of a parse; a result is written once, by whoever knows what has changed since the last one.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from headworks.limiter.v1 import limiter_service_pb2 as pb
from headworks_core.serving import Codec

Field = descriptor_pb2.FieldDescriptorProto
PACKAGE = "headworks.limiter.wire"


class RawConsume(Protocol):
    """A ConsumeRequest; `request` is a PermitRequest (of two the last counts, where protobuf would merge them)."""

    request: bytes


class RawBatch(Protocol):
    """A ConsumeBatchRequest, or with an `id` a ConsumeStreamRequest; each of `requests` is a PermitRequest."""

    id: int
    requests: list[bytes]


class RawResults(Protocol):
    """A ConsumeBatchResponse, or with an `id` a ConsumeStreamResponse; each of `results` is a PermitResult."""

    def __init__(self, *, id: int = 0, results: list[bytes]) -> None: ...
    def SerializeToString(self) -> bytes: ...


_pool = descriptor_pool.DescriptorPool()


def _raw(model: type[Any]) -> Any:
    """The same message with bytes in place of its messages."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{model.__name__}.raw", package=PACKAGE, syntax="proto3")
    message = file.message_type.add()
    model.DESCRIPTOR.CopyToProto(message)
    for field in message.field:
        if field.type == Field.TYPE_MESSAGE:
            field.type = Field.TYPE_BYTES
            field.ClearField("type_name")
    _pool.Add(file)
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{message.name}"))


ConsumeRequest = _raw(pb.ConsumeRequest)
BatchRequest, StreamRequest = _raw(pb.ConsumeBatchRequest), _raw(pb.ConsumeStreamRequest)
BatchResponse = cast(type[RawResults], _raw(pb.ConsumeBatchResponse))
StreamResponse = cast(type[RawResults], _raw(pb.ConsumeStreamResponse))

CODECS: dict[str, Codec] = {
    "Consume": (ConsumeRequest.FromString, bytes),
    "ConsumeBatch": (BatchRequest.FromString, BatchResponse.SerializeToString),
    "ConsumeStream": (StreamRequest.FromString, StreamResponse.SerializeToString),
}
"""How the messages of these methods are read and written."""
