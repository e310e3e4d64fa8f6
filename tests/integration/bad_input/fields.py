"""Values that each field of a request must refuse, and unusual ones that it must take: every field has a row.

Rows are named "<Message>.<field>"; a test checks that they are exactly the fields that the descriptors have.
"""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.duration_pb2 import Duration

UUID = "01890a5d-ac96-774b-bcce-b302099a8057"
JOB = f"tenants/default/queues/default/jobs/0-{UUID}"
DAY = 86_400
INT32, INT64 = 2**31 - 1, 2**63 - 1

NOT_A_NAME = ["", "x" * 65, "UPPER", "a b", "a/b", "..", "a\n", "é", "\N{SKULL}", "a\x00b", "*"]
NOT_A_QUEUE = [name for name in NOT_A_NAME if name]  # empty is "default"
NOT_A_TASK = ["", "x" * 201, "a b", "a/b", "a\n", "é", "\x00"]
NOT_A_WORKER = ["", "x" * 129, "a b", "a\n", "é", "\x00"]
NOT_A_JOB = [
    "",
    "x",
    "x" * 100_000,
    JOB.upper(),
    JOB + "\n",
    JOB[:-1],
    JOB + "0",
    JOB.replace("0-", "-"),
    JOB.replace("0-", "-1-"),
    JOB.replace("default", "DEFAULT"),
    JOB.replace("default", ".."),
    "/" + JOB,
]
NOT_A_UUID = [
    "x",
    UUID.upper(),
    UUID[:-1],
    UUID + "0",
    "{" + UUID + "}",
    UUID.replace("-", ""),
    UUID + "\n",
    "\x00" * 36,
]
NOT_AN_ENUM = [99, -1]
NOT_A_TRACE = ["x" * 56, "x" * 100_000]
CROOKED = [Duration(seconds=1, nanos=-1), Duration(seconds=-1, nanos=1), Duration(seconds=1, nanos=INT32)]
NOT_DESCRIPTORS: list[Any] = [
    {},
    {f"k{n}": "v" for n in range(17)},
    {"": "v"},
    {"K": "v"},
    {"x" * 65: "v"},
    {"a b": "v"},
    {"k": ""},
    {"k": "x" * 257},
    {"k": "é" * 129},
]


def lasting(low_s: float, high_s: float) -> list[Duration]:
    """Durations just outside of `low_s` to `high_s`, and such as are none."""
    below = Duration(nanos=round(low_s * 1e9) - 1_000) if low_s else Duration(nanos=-1_000)
    return [
        below,
        Duration(seconds=int(high_s), nanos=1_000),
        Duration(seconds=-INT64),
        Duration(seconds=INT64),
        *CROOKED,
    ]


BAD: dict[str, list[Any]] = {
    "Payload.data": [b"x" * 262_145],
    "Payload.content_type": ["x" * 101, "a\nb", "é", "\x00"],
    "RetryPolicy.max_attempts": [-1, 101, INT32, -INT32],
    "RetryPolicy.initial_backoff": lasting(0.001, DAY),
    "RetryPolicy.max_backoff": lasting(1, 7 * DAY),
    "RetryPolicy.multiplier": [0.99, 10.1, -1, 0.0, math.nan, math.inf, -math.inf],
    "RetryPolicy.jitter": [-0.01, 1.01, math.nan, math.inf],
    "RetryPolicy.non_retryable": [["x"] * 21, [""], ["x" * 201]],
    "JobSpec.task": NOT_A_TASK,
    "JobSpec.payload": [],
    "JobSpec.level": [-1, 10, INT32, -INT32],
    "JobSpec.lane": ["x" * 129, "a b", "a/b", "a\n", "é", "\x00"],
    "JobSpec.delay": lasting(0, 366 * DAY),
    "JobSpec.expire_after": lasting(0.001, 366 * DAY),
    "JobSpec.attempt_timeout": lasting(0.001, 7 * DAY),
    "JobSpec.retry": [],
    "JobSubmission.spec": [None],
    "JobSubmission.request_id": NOT_A_UUID,
    "JobSubmission.traceparent": NOT_A_TRACE,
    "JobFilter.state": NOT_AN_ENUM,
    "JobFilter.task": [bad for bad in NOT_A_TASK if bad],
    "JobFilter.lane": ["x" * 129, "a b", "a\n"],
    "JobFilter.category": NOT_AN_ENUM,
    "JobFilter.error_class": ["x" * 201],
    "SubmitJobRequest.queue": NOT_A_QUEUE,
    "SubmitJobRequest.job": [None],
    "SubmitJobsRequest.queue": NOT_A_QUEUE,
    "SubmitJobsRequest.jobs": [],
    "GetJobRequest.name": NOT_A_JOB,
    "WatchJobsRequest.names": [[bad] for bad in NOT_A_JOB],
    "WatchJobsRequest.terminal_only": [],
    "CancelJobRequest.name": NOT_A_JOB,
    "ListJobsRequest.queue": NOT_A_QUEUE,
    "ListJobsRequest.filter": [],
    "ListJobsRequest.view": NOT_AN_ENUM,
    "ListJobsRequest.page_size": [-1, 501, INT32, -INT32],
    "ListJobsRequest.page_token": ["x", "é", "\x00", "x" * 100_000, "AAAA"],
    "RedriveJobRequest.name": NOT_A_JOB,
    "RedriveJobsRequest.queue": NOT_A_QUEUE,
    "RedriveJobsRequest.filter": [],
    "RedriveJobsRequest.limit": [-1, 501, INT32, -INT32],
    "RedriveJobsRequest.page_token": ["x", "é", "\x00", "x" * 100_000, "AAAA"],
    "GetQueueRequest.queue": NOT_A_NAME,
    "ListWorkersRequest.queue": NOT_A_QUEUE,
    "ListWorkersRequest.live_only": [],
    "PermitRequest.namespace": NOT_A_NAME,
    "PermitRequest.descriptors": NOT_DESCRIPTORS,
    "ExplainRulesRequest.namespace": NOT_A_NAME,
    "ExplainRulesRequest.descriptors": NOT_DESCRIPTORS,
    "ResetBucketsRequest.namespace": NOT_A_NAME,
    "ResetBucketsRequest.descriptors": NOT_DESCRIPTORS,
    "ResetBucketsRequest.rule": ["x" * 86, "x" * 100_000, "A", "a b", "a.b.c", "per-k\n", "é", "\x00"],
    "GetRulesRequest.namespace": NOT_A_NAME,
    "GetRulesRequest.version": [-1, -INT64],
    "ValidateRulesRequest.namespace": NOT_A_NAME,
    "ValidateRulesRequest.text": ["", "x" * 131_073, "é" * 65_537],
    "SetRulesRequest.namespace": NOT_A_NAME,
    "SetRulesRequest.text": ["", "x" * 131_073, "é" * 65_537],
    "SetRulesRequest.restore_version": [1, -1, -INT64],
    "SetRulesRequest.expected_version": [-1, -INT64],
    "SetRulesRequest.comment": ["x" * 501, "é" * 251],
    "DeleteRulesRequest.namespace": NOT_A_NAME,
    "DeleteRulesRequest.expected_version": [-1, -INT64],
    "DeleteRulesRequest.comment": ["x" * 501, "é" * 251],
    "PermitRequest.permits": [0, -1, 1_000_000_001, INT64, -INT64],
    "PermitRequest.request_id": NOT_A_UUID,
    "PermitRequest.detail": NOT_AN_ENUM,
    "CheckRequest.request": [None],
    "ConsumeRequest.request": [None],
    "ConsumeBatchRequest.requests": [],
    "ConsumeStreamRequest.id": [],
    "ConsumeStreamRequest.requests": [],
    "QueueSubscription.queue": NOT_A_NAME,
    "QueueSubscription.weight": [-1, 1001, INT32],
    "Progress.done": [],
    "Progress.total": [],
    "Progress.message": [],
    "HeldLease.job": NOT_A_JOB,
    "HeldLease.lease_id": [0, -1, -INT64],
    "HeldLease.progress": [],
    "Attach.protocol": [],
    "Attach.worker": NOT_A_WORKER,
    "Attach.queues": [[]],
    "Attach.order": NOT_AN_ENUM,
    "Attach.tasks": [["x"] * 1_001, [""], ["x" * 201]],
    "Attach.slots": [0, -1, 10_001, INT32],
    "Attach.held": [],
    "Attach.capabilities": [["x"] * 101, ["x" * 101]],
    "Credit.slots": [0, -1, 10_001, INT32],
    "Heartbeat.held": [],
    "Success.result": [],
    "Failure.error_class": [],
    "Failure.message": [],
    "Failure.trace": [],
    "Failure.category": [],
    "Failed.failure": [],
    "Failed.retry_after": [],
    "Released.reason": [],
    "Released.delay": [],
    "Result.job": NOT_A_JOB,
    "Result.lease_id": [0, -1, -INT64],
    "Result.success": [],
    "Result.failed": [],
    "Result.released": [],
    "Result.traceparent": [],
    "Results.batch": [0, -1],
    "Results.results": [],
    "Results.credit": [-1, 10_001],
    "SessionRequest.attach": [],
    "SessionRequest.credit": [],
    "SessionRequest.heartbeat": [],
    "SessionRequest.results": [],
    "SessionRequest.draining": [],
}

FINE: dict[str, list[Any]] = {
    "Payload.data": [b"", b"\x00\xff", b"x" * 262_144],
    "JobSpec.level": [0, 9],
    "JobSpec.lane": ["", "a.b:c@d-e_f", "x" * 128],
    "JobSpec.delay": [Duration(), Duration(seconds=366 * DAY)],
    "RetryPolicy.jitter": [0.0, 1.0],
    "JobSubmission.traceparent": ["", "nonsense"],
    "ListJobsRequest.page_size": [0, 1, 500],
    "ConsumeStreamRequest.id": [0, -1, INT64],
    "PermitRequest.descriptors": [{"k": "\x00"}, {"k": "é" * 128}, {"a.b-c_d": "v"}],
    # What only tells people something never ends a session: a worker would send it again for ever.
    "Progress.done": [-1, INT64],
    "Progress.total": [-1, INT64],
    "Progress.message": ["", "x" * 201, "x" * 100_000, "\x00", "\N{SKULL}"],
    "Failure.error_class": ["", "x" * 201, "x" * 100_000, "\x00"],
    "Failure.message": ["", "x" * 100_000, "\x00", "\N{SKULL}" * 2_001],
    "Failure.trace": ["", "x" * 1_000_000],
    "Failure.category": [0, 99],
    "Failed.retry_after": [Duration(seconds=-1), Duration(seconds=INT64), *CROOKED],
    "Released.reason": ["", "x" * 100_000, "\x00"],
    "Released.delay": [Duration(seconds=-1), Duration(seconds=INT64), *CROOKED],
    "Result.traceparent": ["x" * 100_000, "\x00", "nonsense"],
}
