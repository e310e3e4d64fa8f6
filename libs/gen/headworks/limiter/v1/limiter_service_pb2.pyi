import datetime

from google.protobuf import duration_pb2 as _duration_pb2
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

class ReportOutcomeRequest(_message.Message):
    __slots__ = ("namespace", "descriptors", "grant_id", "status", "headers", "latency")
    class DescriptorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    descriptors: _containers.ScalarMap[str, str]
    grant_id: str
    status: int
    headers: _containers.ScalarMap[str, str]
    latency: _duration_pb2.Duration
    def __init__(self, namespace: _Optional[str] = ..., descriptors: _Optional[_Mapping[str, str]] = ..., grant_id: _Optional[str] = ..., status: _Optional[int] = ..., headers: _Optional[_Mapping[str, str]] = ..., latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReportOutcomeResponse(_message.Message):
    __slots__ = ("blocked_for", "rules")
    BLOCKED_FOR_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    blocked_for: _duration_pb2.Duration
    rules: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, blocked_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., rules: _Optional[_Iterable[str]] = ...) -> None: ...
