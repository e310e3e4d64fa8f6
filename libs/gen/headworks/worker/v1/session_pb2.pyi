import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from headworks.scheduler.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QueueOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUEUE_ORDER_UNSPECIFIED: _ClassVar[QueueOrder]
    QUEUE_ORDER_WEIGHTED: _ClassVar[QueueOrder]
    QUEUE_ORDER_STRICT: _ClassVar[QueueOrder]
QUEUE_ORDER_UNSPECIFIED: QueueOrder
QUEUE_ORDER_WEIGHTED: QueueOrder
QUEUE_ORDER_STRICT: QueueOrder

class QueueSubscription(_message.Message):
    __slots__ = ("queue", "weight")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    queue: str
    weight: int
    def __init__(self, queue: _Optional[str] = ..., weight: _Optional[int] = ...) -> None: ...

class HeldLease(_message.Message):
    __slots__ = ("job", "lease_id", "progress")
    JOB_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    job: str
    lease_id: int
    progress: _job_pb2.Progress
    def __init__(self, job: _Optional[str] = ..., lease_id: _Optional[int] = ..., progress: _Optional[_Union[_job_pb2.Progress, _Mapping]] = ...) -> None: ...

class Attach(_message.Message):
    __slots__ = ("protocol", "worker", "queues", "order", "tasks", "slots", "held", "capabilities")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    worker: str
    queues: _containers.RepeatedCompositeFieldContainer[QueueSubscription]
    order: QueueOrder
    tasks: _containers.RepeatedScalarFieldContainer[str]
    slots: int
    held: _containers.RepeatedCompositeFieldContainer[HeldLease]
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, protocol: _Optional[int] = ..., worker: _Optional[str] = ..., queues: _Optional[_Iterable[_Union[QueueSubscription, _Mapping]]] = ..., order: _Optional[_Union[QueueOrder, str]] = ..., tasks: _Optional[_Iterable[str]] = ..., slots: _Optional[int] = ..., held: _Optional[_Iterable[_Union[HeldLease, _Mapping]]] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("slots",)
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    slots: int
    def __init__(self, slots: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("held",)
    HELD_FIELD_NUMBER: _ClassVar[int]
    held: _containers.RepeatedCompositeFieldContainer[HeldLease]
    def __init__(self, held: _Optional[_Iterable[_Union[HeldLease, _Mapping]]] = ...) -> None: ...

class Success(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: _job_pb2.Payload
    def __init__(self, result: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("failure", "retry_after")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    failure: _job_pb2.Failure
    retry_after: _duration_pb2.Duration
    def __init__(self, failure: _Optional[_Union[_job_pb2.Failure, _Mapping]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Released(_message.Message):
    __slots__ = ("reason", "delay")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    reason: str
    delay: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("job", "lease_id", "success", "failed", "released", "traceparent")
    JOB_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    job: str
    lease_id: int
    success: Success
    failed: Failed
    released: Released
    traceparent: str
    def __init__(self, job: _Optional[str] = ..., lease_id: _Optional[int] = ..., success: _Optional[_Union[Success, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ..., released: _Optional[_Union[Released, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class Results(_message.Message):
    __slots__ = ("batch", "results", "credit")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    batch: int
    results: _containers.RepeatedCompositeFieldContainer[Result]
    credit: int
    def __init__(self, batch: _Optional[int] = ..., results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ..., credit: _Optional[int] = ...) -> None: ...

class Draining(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ("attach", "credit", "heartbeat", "results", "draining")
    ATTACH_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    attach: Attach
    credit: Credit
    heartbeat: Heartbeat
    results: Results
    draining: Draining
    def __init__(self, attach: _Optional[_Union[Attach, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., results: _Optional[_Union[Results, _Mapping]] = ..., draining: _Optional[_Union[Draining, _Mapping]] = ...) -> None: ...

class Attached(_message.Message):
    __slots__ = ("replica", "heartbeat_interval", "lease", "lost", "ping_interval")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    PING_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    replica: str
    heartbeat_interval: _duration_pb2.Duration
    lease: _duration_pb2.Duration
    lost: _containers.RepeatedCompositeFieldContainer[LeaseRef]
    ping_interval: _duration_pb2.Duration
    def __init__(self, replica: _Optional[str] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lost: _Optional[_Iterable[_Union[LeaseRef, _Mapping]]] = ..., ping_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LeaseRef(_message.Message):
    __slots__ = ("job", "lease_id")
    JOB_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    job: str
    lease_id: int
    def __init__(self, job: _Optional[str] = ..., lease_id: _Optional[int] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("job", "lease_id", "attempt", "spec", "traceparent", "attempt_timeout")
    JOB_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    job: str
    lease_id: int
    attempt: int
    spec: bytes
    traceparent: str
    attempt_timeout: _duration_pb2.Duration
    def __init__(self, job: _Optional[str] = ..., lease_id: _Optional[int] = ..., attempt: _Optional[int] = ..., spec: _Optional[bytes] = ..., traceparent: _Optional[str] = ..., attempt_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Assign(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Assignment]
    def __init__(self, jobs: _Optional[_Iterable[_Union[Assignment, _Mapping]]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("batch", "lost")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    batch: int
    lost: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, batch: _Optional[int] = ..., lost: _Optional[_Iterable[int]] = ...) -> None: ...

class LeaseLost(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[LeaseRef]
    def __init__(self, leases: _Optional[_Iterable[_Union[LeaseRef, _Mapping]]] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[LeaseRef]
    def __init__(self, leases: _Optional[_Iterable[_Union[LeaseRef, _Mapping]]] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Ping(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("attached", "assign", "ack", "lease_lost", "cancel", "drain", "ping")
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    LEASE_LOST_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    attached: Attached
    assign: Assign
    ack: Ack
    lease_lost: LeaseLost
    cancel: Cancel
    drain: Drain
    ping: Ping
    def __init__(self, attached: _Optional[_Union[Attached, _Mapping]] = ..., assign: _Optional[_Union[Assign, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., lease_lost: _Optional[_Union[LeaseLost, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ...) -> None: ...
