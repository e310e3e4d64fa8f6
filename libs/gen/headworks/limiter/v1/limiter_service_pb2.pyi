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

class SettleRequest(_message.Message):
    __slots__ = ("grant_id", "permits")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    PERMITS_FIELD_NUMBER: _ClassVar[int]
    grant_id: str
    permits: int
    def __init__(self, grant_id: _Optional[str] = ..., permits: _Optional[int] = ...) -> None: ...

class SettleResponse(_message.Message):
    __slots__ = ("replayed",)
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    replayed: bool
    def __init__(self, replayed: _Optional[bool] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("grant_id",)
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    grant_id: str
    def __init__(self, grant_id: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("released",)
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    released: bool
    def __init__(self, released: _Optional[bool] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("grant_id",)
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    grant_id: str
    def __init__(self, grant_id: _Optional[str] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("expires_after",)
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    expires_after: _duration_pb2.Duration
    def __init__(self, expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LeaseQuotaRequest(_message.Message):
    __slots__ = ("namespace", "descriptors", "permits", "duration", "request_id")
    class DescriptorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    PERMITS_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    descriptors: _containers.ScalarMap[str, str]
    permits: int
    duration: _duration_pb2.Duration
    request_id: str
    def __init__(self, namespace: _Optional[str] = ..., descriptors: _Optional[_Mapping[str, str]] = ..., permits: _Optional[int] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class LeaseQuotaResponse(_message.Message):
    __slots__ = ("lease_id", "permits", "expires_after", "retry_after", "inexact", "governing")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PERMITS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    INEXACT_FIELD_NUMBER: _ClassVar[int]
    GOVERNING_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    permits: int
    expires_after: _duration_pb2.Duration
    retry_after: _duration_pb2.Duration
    inexact: bool
    governing: _limiter_pb2.RuleStatus
    def __init__(self, lease_id: _Optional[str] = ..., permits: _Optional[int] = ..., expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., inexact: _Optional[bool] = ..., governing: _Optional[_Union[_limiter_pb2.RuleStatus, _Mapping]] = ...) -> None: ...

class ReturnQuotaRequest(_message.Message):
    __slots__ = ("lease_id", "spent")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    spent: int
    def __init__(self, lease_id: _Optional[str] = ..., spent: _Optional[int] = ...) -> None: ...

class ReturnQuotaResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PlanBatchesRequest(_message.Message):
    __slots__ = ("namespace", "descriptors", "items", "permits_per_item", "max_batch", "min_batch", "max_batches")
    class DescriptorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    PERMITS_PER_ITEM_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_FIELD_NUMBER: _ClassVar[int]
    MIN_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCHES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    descriptors: _containers.ScalarMap[str, str]
    items: int
    permits_per_item: int
    max_batch: int
    min_batch: int
    max_batches: int
    def __init__(self, namespace: _Optional[str] = ..., descriptors: _Optional[_Mapping[str, str]] = ..., items: _Optional[int] = ..., permits_per_item: _Optional[int] = ..., max_batch: _Optional[int] = ..., min_batch: _Optional[int] = ..., max_batches: _Optional[int] = ...) -> None: ...

class PlanBatchesResponse(_message.Message):
    __slots__ = ("batches", "unplanned")
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    UNPLANNED_FIELD_NUMBER: _ClassVar[int]
    batches: _containers.RepeatedCompositeFieldContainer[PlannedBatch]
    unplanned: int
    def __init__(self, batches: _Optional[_Iterable[_Union[PlannedBatch, _Mapping]]] = ..., unplanned: _Optional[int] = ...) -> None: ...

class PlannedBatch(_message.Message):
    __slots__ = ("start_after", "items")
    START_AFTER_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    start_after: _duration_pb2.Duration
    items: int
    def __init__(self, start_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., items: _Optional[int] = ...) -> None: ...

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
