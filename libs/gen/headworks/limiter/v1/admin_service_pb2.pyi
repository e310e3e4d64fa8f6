import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headworks.limiter.v1 import limiter_pb2 as _limiter_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RuleSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RULE_SOURCE_UNSPECIFIED: _ClassVar[RuleSource]
    RULE_SOURCE_FILE: _ClassVar[RuleSource]
    RULE_SOURCE_API: _ClassVar[RuleSource]
RULE_SOURCE_UNSPECIFIED: RuleSource
RULE_SOURCE_FILE: RuleSource
RULE_SOURCE_API: RuleSource

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
    __slots__ = ("rules", "permits", "bypass")
    RULES_FIELD_NUMBER: _ClassVar[int]
    PERMITS_FIELD_NUMBER: _ClassVar[int]
    BYPASS_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[RuleExplanation]
    permits: int
    bypass: str
    def __init__(self, rules: _Optional[_Iterable[_Union[RuleExplanation, _Mapping]]] = ..., permits: _Optional[int] = ..., bypass: _Optional[str] = ...) -> None: ...

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

class RuleVersion(_message.Message):
    __slots__ = ("version", "create_time", "author", "comment", "deleted")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    version: int
    create_time: _timestamp_pb2.Timestamp
    author: str
    comment: str
    deleted: bool
    def __init__(self, version: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., author: _Optional[str] = ..., comment: _Optional[str] = ..., deleted: _Optional[bool] = ...) -> None: ...

class NamespaceRules(_message.Message):
    __slots__ = ("namespace", "source", "version", "rules", "file_overridden", "fault")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    FILE_OVERRIDDEN_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    source: RuleSource
    version: RuleVersion
    rules: int
    file_overridden: bool
    fault: str
    def __init__(self, namespace: _Optional[str] = ..., source: _Optional[_Union[RuleSource, str]] = ..., version: _Optional[_Union[RuleVersion, _Mapping]] = ..., rules: _Optional[int] = ..., file_overridden: _Optional[bool] = ..., fault: _Optional[str] = ...) -> None: ...

class ListRulesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRulesResponse(_message.Message):
    __slots__ = ("namespaces", "version")
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    namespaces: _containers.RepeatedCompositeFieldContainer[NamespaceRules]
    version: int
    def __init__(self, namespaces: _Optional[_Iterable[_Union[NamespaceRules, _Mapping]]] = ..., version: _Optional[int] = ...) -> None: ...

class GetRulesRequest(_message.Message):
    __slots__ = ("namespace", "version")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    version: int
    def __init__(self, namespace: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class GetRulesResponse(_message.Message):
    __slots__ = ("rules", "text", "history")
    RULES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    rules: NamespaceRules
    text: str
    history: _containers.RepeatedCompositeFieldContainer[RuleVersion]
    def __init__(self, rules: _Optional[_Union[NamespaceRules, _Mapping]] = ..., text: _Optional[str] = ..., history: _Optional[_Iterable[_Union[RuleVersion, _Mapping]]] = ...) -> None: ...

class ValidateRulesRequest(_message.Message):
    __slots__ = ("namespace", "text")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    text: str
    def __init__(self, namespace: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class ValidateRulesResponse(_message.Message):
    __slots__ = ("mistakes", "rules")
    MISTAKES_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    mistakes: _containers.RepeatedCompositeFieldContainer[RuleMistake]
    rules: int
    def __init__(self, mistakes: _Optional[_Iterable[_Union[RuleMistake, _Mapping]]] = ..., rules: _Optional[int] = ...) -> None: ...

class RuleMistake(_message.Message):
    __slots__ = ("line", "message")
    LINE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    line: int
    message: str
    def __init__(self, line: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class SetRulesRequest(_message.Message):
    __slots__ = ("namespace", "text", "restore_version", "expected_version", "comment")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RESTORE_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    text: str
    restore_version: int
    expected_version: int
    comment: str
    def __init__(self, namespace: _Optional[str] = ..., text: _Optional[str] = ..., restore_version: _Optional[int] = ..., expected_version: _Optional[int] = ..., comment: _Optional[str] = ...) -> None: ...

class SetRulesResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class DeleteRulesRequest(_message.Message):
    __slots__ = ("namespace", "expected_version", "comment")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    expected_version: int
    comment: str
    def __init__(self, namespace: _Optional[str] = ..., expected_version: _Optional[int] = ..., comment: _Optional[str] = ...) -> None: ...

class DeleteRulesResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class ReloadRulesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadRulesResponse(_message.Message):
    __slots__ = ("mistakes", "version")
    MISTAKES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    mistakes: _containers.RepeatedCompositeFieldContainer[RuleMistake]
    version: int
    def __init__(self, mistakes: _Optional[_Iterable[_Union[RuleMistake, _Mapping]]] = ..., version: _Optional[int] = ...) -> None: ...

class CountDecisionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CountDecisionsResponse(_message.Message):
    __slots__ = ("replica", "uptime", "rules")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    replica: str
    uptime: _duration_pb2.Duration
    rules: _containers.RepeatedCompositeFieldContainer[RuleCount]
    def __init__(self, replica: _Optional[str] = ..., uptime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., rules: _Optional[_Iterable[_Union[RuleCount, _Mapping]]] = ...) -> None: ...

class RuleCount(_message.Message):
    __slots__ = ("namespace", "rule", "requests", "refused", "near_limit", "shadow_refused")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    NEAR_LIMIT_FIELD_NUMBER: _ClassVar[int]
    SHADOW_REFUSED_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    rule: str
    requests: int
    refused: int
    near_limit: int
    shadow_refused: int
    def __init__(self, namespace: _Optional[str] = ..., rule: _Optional[str] = ..., requests: _Optional[int] = ..., refused: _Optional[int] = ..., near_limit: _Optional[int] = ..., shadow_refused: _Optional[int] = ...) -> None: ...
