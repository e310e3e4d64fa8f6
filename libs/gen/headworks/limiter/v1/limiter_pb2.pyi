import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from headworks.common.v1 import error_pb2 as _error_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Detail(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DETAIL_UNSPECIFIED: _ClassVar[Detail]
    DETAIL_GOVERNING: _ClassVar[Detail]
    DETAIL_ALL: _ClassVar[Detail]

class Refusal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_UNSPECIFIED: _ClassVar[Refusal]
    REFUSAL_LIMITED: _ClassVar[Refusal]
    REFUSAL_STORE_FAILURE: _ClassVar[Refusal]
DETAIL_UNSPECIFIED: Detail
DETAIL_GOVERNING: Detail
DETAIL_ALL: Detail
REFUSAL_UNSPECIFIED: Refusal
REFUSAL_LIMITED: Refusal
REFUSAL_STORE_FAILURE: Refusal

class PermitRequest(_message.Message):
    __slots__ = ("namespace", "descriptors", "permits", "request_id", "detail", "max_wait", "allow_partial", "hold")
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
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    descriptors: _containers.ScalarMap[str, str]
    permits: int
    request_id: str
    detail: Detail
    max_wait: _duration_pb2.Duration
    allow_partial: bool
    hold: _duration_pb2.Duration
    def __init__(self, namespace: _Optional[str] = ..., descriptors: _Optional[_Mapping[str, str]] = ..., permits: _Optional[int] = ..., request_id: _Optional[str] = ..., detail: _Optional[_Union[Detail, str]] = ..., max_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., allow_partial: _Optional[bool] = ..., hold: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("allowed", "permits", "refusal", "retry_after", "governing", "rules", "degraded", "replayed", "wait", "grant_id", "grant_expires_after")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    PERMITS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    GOVERNING_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    GRANT_EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    permits: int
    refusal: Refusal
    retry_after: _duration_pb2.Duration
    governing: RuleStatus
    rules: _containers.RepeatedCompositeFieldContainer[RuleStatus]
    degraded: bool
    replayed: bool
    wait: _duration_pb2.Duration
    grant_id: str
    grant_expires_after: _duration_pb2.Duration
    def __init__(self, allowed: _Optional[bool] = ..., permits: _Optional[int] = ..., refusal: _Optional[_Union[Refusal, str]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., governing: _Optional[_Union[RuleStatus, _Mapping]] = ..., rules: _Optional[_Iterable[_Union[RuleStatus, _Mapping]]] = ..., degraded: _Optional[bool] = ..., replayed: _Optional[bool] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., grant_id: _Optional[str] = ..., grant_expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RuleStatus(_message.Message):
    __slots__ = ("rule", "limit", "remaining", "reset_after", "retry_after", "allowed", "shadow")
    RULE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    RESET_AFTER_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    rule: str
    limit: int
    remaining: int
    reset_after: _duration_pb2.Duration
    retry_after: _duration_pb2.Duration
    allowed: bool
    shadow: bool
    def __init__(self, rule: _Optional[str] = ..., limit: _Optional[int] = ..., remaining: _Optional[int] = ..., reset_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., allowed: _Optional[bool] = ..., shadow: _Optional[bool] = ...) -> None: ...

class PermitResult(_message.Message):
    __slots__ = ("decision", "error")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    error: _error_pb2.ItemError
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ..., error: _Optional[_Union[_error_pb2.ItemError, _Mapping]] = ...) -> None: ...
