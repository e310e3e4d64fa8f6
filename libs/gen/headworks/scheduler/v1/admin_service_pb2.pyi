import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKER_STATE_UNSPECIFIED: _ClassVar[WorkerState]
    WORKER_STATE_ACTIVE: _ClassVar[WorkerState]
    WORKER_STATE_DRAINING: _ClassVar[WorkerState]
    WORKER_STATE_GONE: _ClassVar[WorkerState]
    WORKER_STATE_LOST: _ClassVar[WorkerState]
WORKER_STATE_UNSPECIFIED: WorkerState
WORKER_STATE_ACTIVE: WorkerState
WORKER_STATE_DRAINING: WorkerState
WORKER_STATE_GONE: WorkerState
WORKER_STATE_LOST: WorkerState

class Queue(_message.Message):
    __slots__ = ("queue", "max_size", "max_size_per_tenant", "max_attempts", "attempt_timeout", "retention", "stats", "own")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_PER_TENANT_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    queue: str
    max_size: int
    max_size_per_tenant: int
    max_attempts: int
    attempt_timeout: _duration_pb2.Duration
    retention: _duration_pb2.Duration
    stats: QueueStats
    own: TenantStats
    def __init__(self, queue: _Optional[str] = ..., max_size: _Optional[int] = ..., max_size_per_tenant: _Optional[int] = ..., max_attempts: _Optional[int] = ..., attempt_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., stats: _Optional[_Union[QueueStats, _Mapping]] = ..., own: _Optional[_Union[TenantStats, _Mapping]] = ...) -> None: ...

class QueueStats(_message.Message):
    __slots__ = ("waiting", "ready", "scheduled", "leased", "dead", "levels", "tenants", "oldest_ready", "waiting_replicas")
    WAITING_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_READY_FIELD_NUMBER: _ClassVar[int]
    WAITING_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    waiting: int
    ready: int
    scheduled: int
    leased: int
    dead: int
    levels: _containers.RepeatedCompositeFieldContainer[LevelStats]
    tenants: int
    oldest_ready: _duration_pb2.Duration
    waiting_replicas: int
    def __init__(self, waiting: _Optional[int] = ..., ready: _Optional[int] = ..., scheduled: _Optional[int] = ..., leased: _Optional[int] = ..., dead: _Optional[int] = ..., levels: _Optional[_Iterable[_Union[LevelStats, _Mapping]]] = ..., tenants: _Optional[int] = ..., oldest_ready: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., waiting_replicas: _Optional[int] = ...) -> None: ...

class LevelStats(_message.Message):
    __slots__ = ("level", "ready")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    level: int
    ready: int
    def __init__(self, level: _Optional[int] = ..., ready: _Optional[int] = ...) -> None: ...

class TenantStats(_message.Message):
    __slots__ = ("waiting", "dead")
    WAITING_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    waiting: int
    dead: int
    def __init__(self, waiting: _Optional[int] = ..., dead: _Optional[int] = ...) -> None: ...

class ListQueuesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListQueuesResponse(_message.Message):
    __slots__ = ("queues",)
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    queues: _containers.RepeatedCompositeFieldContainer[Queue]
    def __init__(self, queues: _Optional[_Iterable[_Union[Queue, _Mapping]]] = ...) -> None: ...

class GetQueueRequest(_message.Message):
    __slots__ = ("queue",)
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    queue: str
    def __init__(self, queue: _Optional[str] = ...) -> None: ...

class GetQueueResponse(_message.Message):
    __slots__ = ("queue",)
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    queue: Queue
    def __init__(self, queue: _Optional[_Union[Queue, _Mapping]] = ...) -> None: ...

class Worker(_message.Message):
    __slots__ = ("worker", "state", "replica", "queues", "tasks", "slots", "held", "succeeded", "failed", "released", "attach_time", "silent")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    ATTACH_TIME_FIELD_NUMBER: _ClassVar[int]
    SILENT_FIELD_NUMBER: _ClassVar[int]
    worker: str
    state: WorkerState
    replica: str
    queues: _containers.RepeatedScalarFieldContainer[str]
    tasks: _containers.RepeatedScalarFieldContainer[str]
    slots: int
    held: int
    succeeded: int
    failed: int
    released: int
    attach_time: _timestamp_pb2.Timestamp
    silent: _duration_pb2.Duration
    def __init__(self, worker: _Optional[str] = ..., state: _Optional[_Union[WorkerState, str]] = ..., replica: _Optional[str] = ..., queues: _Optional[_Iterable[str]] = ..., tasks: _Optional[_Iterable[str]] = ..., slots: _Optional[int] = ..., held: _Optional[int] = ..., succeeded: _Optional[int] = ..., failed: _Optional[int] = ..., released: _Optional[int] = ..., attach_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., silent: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListWorkersRequest(_message.Message):
    __slots__ = ("queue", "live_only")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    LIVE_ONLY_FIELD_NUMBER: _ClassVar[int]
    queue: str
    live_only: bool
    def __init__(self, queue: _Optional[str] = ..., live_only: _Optional[bool] = ...) -> None: ...

class ListWorkersResponse(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[Worker]
    def __init__(self, workers: _Optional[_Iterable[_Union[Worker, _Mapping]]] = ...) -> None: ...
