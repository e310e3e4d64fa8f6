import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headworks.scheduler.v1 import job_pb2 as _job_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobEvent(_message.Message):
    __slots__ = ("job", "tenant", "queue", "task", "sequence", "state", "attempt", "generation", "time", "failure")
    JOB_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    job: str
    tenant: str
    queue: str
    task: str
    sequence: int
    state: _job_pb2.JobState
    attempt: int
    generation: int
    time: _timestamp_pb2.Timestamp
    failure: _job_pb2.Failure
    def __init__(self, job: _Optional[str] = ..., tenant: _Optional[str] = ..., queue: _Optional[str] = ..., task: _Optional[str] = ..., sequence: _Optional[int] = ..., state: _Optional[_Union[_job_pb2.JobState, str]] = ..., attempt: _Optional[int] = ..., generation: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failure: _Optional[_Union[_job_pb2.Failure, _Mapping]] = ...) -> None: ...
