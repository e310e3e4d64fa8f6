"""When a failed job is tried again."""

from __future__ import annotations

import pytest
from headworks_scheduler.domain.retry import RetryPolicy
from hypothesis import given
from hypothesis import strategies as st

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    initial_us=st.integers(1_000, 86_400_000_000),
    max_us=st.integers(86_400_000_000, 604_800_000_000),
    multiplier_milli=st.integers(1_000, 10_000),
    jitter_milli=st.integers(0, 1_000),
)


@pytest.mark.parametrize(("failures", "delay_s"), [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (99, 300)])
def test_the_delay_doubles_up_to_its_cap(failures: int, delay_s: int) -> None:
    assert RetryPolicy(jitter_milli=0).delay_us(failures, 999) == delay_s * 1_000_000


def test_jitter_takes_off_at_most_its_share() -> None:
    policy = RetryPolicy(initial_us=1_000_000, jitter_milli=500)
    assert policy.delay_us(1, 0) == 1_000_000
    assert policy.delay_us(1, 999) == 500_500


@given(policies, st.integers(1, 200), st.integers(0, 999))
def test_a_delay_is_never_negative_and_never_over_the_cap(policy: RetryPolicy, failures: int, luck: int) -> None:
    assert 0 <= policy.delay_us(failures, luck) <= policy.max_us


@given(policies, st.integers(1, 200), st.integers(0, 999))
def test_a_later_failure_never_waits_less(policy: RetryPolicy, failures: int, luck: int) -> None:
    assert policy.delay_us(failures, luck) <= policy.delay_us(failures + 1, luck)


def test_a_policy_is_stored_as_five_numbers() -> None:
    assert RetryPolicy(3, 1_000, 2_000, 1_500, 250).encode() == "3:1000:2000:1500:250"
