from headworks.limiter.v1 import limiter_pb2 as _limiter_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: _limiter_pb2.PermitRequest
    def __init__(self, request: _Optional[_Union[_limiter_pb2.PermitRequest, _Mapping]] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("decision",)
    DECISION_FIELD_NUMBER: _ClassVar[int]
    decision: _limiter_pb2.Decision
    def __init__(self, decision: _Optional[_Union[_limiter_pb2.Decision, _Mapping]] = ...) -> None: ...

class ConsumeRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: _limiter_pb2.PermitRequest
    def __init__(self, request: _Optional[_Union[_limiter_pb2.PermitRequest, _Mapping]] = ...) -> None: ...

class ConsumeResponse(_message.Message):
    __slots__ = ("decision",)
    DECISION_FIELD_NUMBER: _ClassVar[int]
    decision: _limiter_pb2.Decision
    def __init__(self, decision: _Optional[_Union[_limiter_pb2.Decision, _Mapping]] = ...) -> None: ...

class ConsumeBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[_limiter_pb2.PermitRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[_limiter_pb2.PermitRequest, _Mapping]]] = ...) -> None: ...

class ConsumeBatchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_limiter_pb2.PermitResult]
    def __init__(self, results: _Optional[_Iterable[_Union[_limiter_pb2.PermitResult, _Mapping]]] = ...) -> None: ...

class ConsumeStreamRequest(_message.Message):
    __slots__ = ("id", "requests")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    requests: _containers.RepeatedCompositeFieldContainer[_limiter_pb2.PermitRequest]
    def __init__(self, id: _Optional[int] = ..., requests: _Optional[_Iterable[_Union[_limiter_pb2.PermitRequest, _Mapping]]] = ...) -> None: ...

class ConsumeStreamResponse(_message.Message):
    __slots__ = ("id", "results")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    results: _containers.RepeatedCompositeFieldContainer[_limiter_pb2.PermitResult]
    def __init__(self, id: _Optional[int] = ..., results: _Optional[_Iterable[_Union[_limiter_pb2.PermitResult, _Mapping]]] = ...) -> None: ...
