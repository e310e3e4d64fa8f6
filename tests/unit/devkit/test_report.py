"""The demo's arithmetic."""

from __future__ import annotations

import datetime

from headworks_client import JobSnapshot, JobState, Submission
from headworks_devkit.demo.permits import PermitCount
from headworks_devkit.demo.report import percentile, pickup_ms

NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)


def job(*, attempts: int, start_ms: int | None) -> JobSnapshot:
    """A job submitted at noon and begun so many milliseconds later."""
    return JobSnapshot(
        name="tenants/default/queues/default/jobs/0-1",
        state=JobState.SUCCEEDED,
        submission=Submission("t"),
        attempts=attempts,
        failures=0,
        lost_leases=0,
        undelivered=0,
        generation=1,
        result=None,
        failure=None,
        progress=None,
        create_time=NOON,
        schedule_time=None,
        start_time=None if start_ms is None else NOON + datetime.timedelta(milliseconds=start_ms),
        finish_time=None,
        cancel_requested=False,
        worker="w",
        lease_id=1,
    )


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = list(range(100, 0, -1))
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([], 0.5) == 0.0


def test_pickup_counts_only_what_was_begun_once() -> None:
    assert pickup_ms(job(attempts=1, start_ms=3)) == 3.0
    assert pickup_ms(job(attempts=2, start_ms=3000)) is None
    assert pickup_ms(job(attempts=0, start_ms=None)) is None


def test_permits_are_counted_from_the_workers_logs() -> None:
    count = PermitCount()
    count.hear('{"refusals": 2, "event": "census.permitted"}')
    count.hear('{"refusals": 0, "event": "census.permitted"}')
    count.hear("some other line")
    assert (count.total().allowed, count.total().denied) == (2, 2)
