"""Submissions and snapshots: the way to the wire and back."""

from __future__ import annotations

import datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from headworks.scheduler.v1 import job_pb2
from headworks_client import Failure, FailureCategory, JobSnapshot, JobState, Progress, Retry, Submission
from headworks_client.durations import to_duration, to_seconds
from headworks_core.names import UUID

FULL = Submission(
    task="t",
    payload=b"{}",
    level=0,
    lane="l",
    delay_s=1.5,
    expire_after_s=60,
    attempt_timeout_s=0.001,
    retry=Retry(
        max_attempts=3,
        initial_backoff_s=0.5,
        max_backoff_s=10,
        multiplier=1.5,
        jitter=0.0,
        non_retryable=("ValueError",),
    ),
)


def test_a_submission_comes_back_as_it_was() -> None:
    assert Submission.from_spec(FULL.to_proto().spec) == FULL


def test_what_is_not_said_is_left_to_the_queue() -> None:
    spec = Submission("t").to_proto().spec

    assert [field.name for field, _ in spec.ListFields()] == ["task"]
    assert Submission.from_spec(spec) == Submission("t")


def test_a_job_always_has_an_id_before_it_is_sent() -> None:
    ids = {Submission("t").to_proto().request_id for _ in range(3)}

    assert len(ids) == 3
    assert all(UUID.fullmatch(request_id) for request_id in ids)
    assert Submission("t", request_id="mine").to_proto().request_id == "mine"


def test_a_trace_of_its_own_goes_before_the_callers() -> None:
    assert Submission("t", traceparent="own").to_proto("callers").traceparent == "own"
    assert Submission("t").to_proto("callers").traceparent == "callers"


def test_a_snapshot_says_everything_about_a_job() -> None:
    job = job_pb2.Job(
        name="n",
        spec=job_pb2.JobSpec(task="t"),
        state=job_pb2.JOB_STATE_DEAD,
        attempts=2,
        failure=job_pb2.Failure(error_class="E", message="m", trace="t", category=job_pb2.FAILURE_CATEGORY_PERMANENT),
        progress=job_pb2.Progress(done=1, total=2, message="p"),
        create_time=Timestamp(seconds=1_700_000_000, nanos=5_000),
        worker="w",
        lease_id=7,
    )

    snapshot = JobSnapshot.from_proto(job)

    assert snapshot.state is JobState.DEAD
    assert snapshot.state.terminal
    assert snapshot.task == "t"
    assert snapshot.failure == Failure("E", "m", "t", FailureCategory.PERMANENT)
    assert snapshot.progress == Progress(1, 2, "p")
    assert snapshot.create_time == datetime.datetime(2023, 11, 14, 22, 13, 20, 5, tzinfo=datetime.UTC)
    assert (snapshot.finish_time, snapshot.result) == (None, None)
    assert (snapshot.attempts, snapshot.worker, snapshot.lease_id) == (2, "w", 7)


def test_states_and_categories_of_a_newer_service_are_unknown() -> None:
    job = job_pb2.Job(failure=job_pb2.Failure())
    job.state = 99  # type: ignore[assignment]

    snapshot = JobSnapshot.from_proto(job)

    assert snapshot.state is JobState.UNKNOWN
    assert not snapshot.state.terminal
    assert snapshot.failure is not None
    assert snapshot.failure.category is FailureCategory.UNKNOWN


def test_every_state_and_category_of_the_protos_has_a_name_here() -> None:
    states = {value.name for value in job_pb2.JobState.DESCRIPTOR.values if value.number}
    categories = {value.name for value in job_pb2.FailureCategory.DESCRIPTOR.values if value.number}

    assert states == {f"JOB_STATE_{state}" for state in JobState} - {"JOB_STATE_UNKNOWN"}
    assert categories == {f"FAILURE_CATEGORY_{kind}" for kind in FailureCategory} - {"FAILURE_CATEGORY_UNKNOWN"}


@pytest.mark.parametrize("seconds", [0.0, 0.000001, 1.5, 90.25, 31_622_400.0])
def test_durations_are_exact_to_the_microsecond(seconds: float) -> None:
    assert to_seconds(to_duration(seconds)) == seconds


@pytest.mark.parametrize("seconds", [float("inf"), float("nan")])
def test_what_is_no_duration_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        to_duration(seconds)
