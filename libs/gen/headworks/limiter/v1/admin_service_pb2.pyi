from headworks.limiter.v1 import limiter_pb2 as _limiter_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExplainRulesRequest(_message.Message):
    __slots__ = ("namespace", "descriptors")
    class DescriptorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    descriptors: _containers.ScalarMap[str, str]
    def __init__(self, namespace: _Optional[str] = ..., descriptors: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ExplainRulesResponse(_message.Message):
    __slots__ = ("rules",)
    RULES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[RuleExplanation]
    def __init__(self, rules: _Optional[_Iterable[_Union[RuleExplanation, _Mapping]]] = ...) -> None: ...

class RuleExplanation(_message.Message):
    __slots__ = ("rule", "why_not", "status", "overridden")
    RULE_FIELD_NUMBER: _ClassVar[int]
    WHY_NOT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    OVERRIDDEN_FIELD_NUMBER: _ClassVar[int]
    rule: str
    why_not: str
    status: _limiter_pb2.RuleStatus
    overridden: bool
    def __init__(self, rule: _Optional[str] = ..., why_not: _Optional[str] = ..., status: _Optional[_Union[_limiter_pb2.RuleStatus, _Mapping]] = ..., overridden: _Optional[bool] = ...) -> None: ...

class ResetBucketsRequest(_message.Message):
    __slots__ = ("namespace", "descriptors", "rule")
    class DescriptorsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    descriptors: _containers.ScalarMap[str, str]
    rule: str
    def __init__(self, namespace: _Optional[str] = ..., descriptors: _Optional[_Mapping[str, str]] = ..., rule: _Optional[str] = ...) -> None: ...

class ResetBucketsResponse(_message.Message):
    __slots__ = ("rules",)
    RULES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rules: _Optional[_Iterable[str]] = ...) -> None: ...
