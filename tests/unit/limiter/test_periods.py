"""Periods: how they are written, and where the calendar puts their ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from headworks_limiter.domain.periods import DAY_US, Period, calendar_end, end_after, parse

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def us(moment: str) -> int:
    """Microseconds since the epoch of an ISO moment in UTC."""
    return (datetime.fromisoformat(moment).replace(tzinfo=UTC) - EPOCH) // MICROSECOND


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("1ms", Period(us=1_000)),
        ("s", Period(us=1_000_000)),
        ("5m", Period(us=300_000_000)),
        ("minute", Period(us=60_000_000)),
        ("2 hours", Period(us=7_200_000_000)),
        ("1d", Period(us=DAY_US)),
        ("week", Period(us=7 * DAY_US)),
        ("month", Period(months=1)),
        ("3 months", Period(months=3)),
        ("year", Period(months=12)),
        ("10years", Period(months=120)),
        ("3660d", Period(us=3660 * DAY_US)),
    ],
)
def test_a_period_is_a_number_and_a_unit(text: str, period: Period) -> None:
    assert parse(text) == period


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "m5",
        "5 m 3 s",
        "0s",
        "-1s",
        "1.5h",
        "999us",
        "11 years",
        "121 months",
        "3661d",
        "mo",
        "1M",
        "5  m",
        "٣m",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("per", "now", "end"),
    [
        ("1s", "2026-03-01T12:00:00.999999", "2026-03-01T12:00:01"),
        ("1s", "2026-03-01T12:00:01", "2026-03-01T12:00:02"),
        ("5m", "2026-03-01T12:04:59", "2026-03-01T12:05:00"),
        ("1d", "2026-03-01T23:59:59", "2026-03-02T00:00:00"),
        ("1w", "2026-03-01T23:59:59.999999", "2026-03-02T00:00:00"),  # the 2nd is a Monday
        ("1w", "2026-03-02T00:00:00", "2026-03-09T00:00:00"),
        ("7d", "2026-03-02T00:00:00", "2026-03-09T00:00:00"),
        ("month", "2024-02-29T23:59:59", "2024-03-01T00:00:00"),
        ("month", "2026-12-31T00:00:00", "2027-01-01T00:00:00"),
        ("3 months", "2026-02-28T00:00:00", "2026-04-01T00:00:00"),
        ("year", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("year", "2099-12-31T23:59:59.999999", "2100-01-01T00:00:00"),
    ],
)
def test_the_calendars_windows_end_where_people_expect(per: str, now: str, end: str) -> None:
    period = parse(per)
    assert period is not None
    assert calendar_end(us(now), period) == us(end)


@pytest.mark.parametrize(
    ("per", "now", "end"),
    [
        ("1m", "2026-03-01T12:00:10", "2026-03-01T12:01:10"),
        ("month", "2026-03-15T12:00:00", "2026-04-15T12:00:00"),
        ("month", "2026-01-31T12:00:00", "2026-02-28T12:00:00"),
        ("month", "2024-01-31T12:00:00", "2024-02-29T12:00:00"),
        ("year", "2024-02-29T12:00:00.5", "2025-02-28T12:00:00.5"),
        ("2 months", "2026-12-31T00:00:00", "2027-02-28T00:00:00"),
    ],
)
def test_a_window_that_begins_now_ends_on_the_same_day_or_the_months_last(per: str, now: str, end: str) -> None:
    period = parse(per)
    assert period is not None
    assert end_after(us(now), period) == us(end)
