"""The scripts agree with the model whatever happens in whatever order, and the documents with both."""

from __future__ import annotations

import pytest
from headworks_scheduler.domain.retry import RetryPolicy
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.scheduler_store import documents
from tests.integration.scheduler_store.machine import Seen, StoreMachine
from tests.integration.scheduler_store.shapes import OPTIONS

BOUNDED = settings(
    max_examples=250,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def seen(valkey_url: str) -> Seen:
    """All that occurred while the machine ran; it fails here if store and model disagree."""
    seen = Seen()
    run_state_machine_as_test(lambda: StoreMachine(valkey_url, seen), settings=BOUNDED)  # type: ignore[arg-type]
    walk_where_chance_seldom_leads(StoreMachine(valkey_url, seen))
    return seen


def walk_where_chance_seldom_leads(machine: StoreMachine) -> None:
    """The transitions that need several steps in a row on one job."""
    policy = RetryPolicy(max_attempts=3, initial_us=0, max_us=0, multiplier_milli=1_000, jitter_milli=0)
    machine.start(cells=1, first=[("plain", "ann", 5, "", 0, 0, policy.encode(), "")] * 3)
    machine.cancel_leased("one", [0])
    machine.fail("one", [0], retryable=True, after=-1, luck=0, trace="")
    machine.redrive("one", [0, 1, 2])
    machine.claim_all("one")
    machine.fail("one", [0], retryable=True, after=0, luck=0, trace="")
    for _ in range(OPTIONS.lost_max + 1):
        machine.claim_all("one")
        machine.outlive_a_lease("one", early=0, all_beat=True)
        machine.await_a_timer("one", early=0)
    machine.the_store_holds_what_the_model_says()
    machine.teardown()


@pytest.mark.timeout(600)  # shrinking a failure takes its time
def test_the_store_does_what_the_model_does(seen: Seen) -> None:
    assert seen.transitions.total() > 1_000


@pytest.mark.timeout(600)
def test_the_transitions_are_those_of_the_document(seen: Seen) -> None:
    assert set(seen.transitions) == documents.transitions()


@pytest.mark.timeout(600)
def test_the_keys_are_those_of_the_document(seen: Seen) -> None:
    patterns = documents.key_patterns("Jobs") | documents.key_patterns("Queues")
    found = {key: [name for name, pattern in patterns.items() if pattern.fullmatch(key)] for key in seen.keys}
    assert [key for key, names in found.items() if len(names) != 1] == []
    assert {name for names in found.values() for name in names} == set(patterns)


@pytest.mark.timeout(600)
def test_the_fields_of_a_job_are_those_of_the_document(seen: Seen) -> None:
    found = {field for key, fields in seen.keys.items() if ":job:" in key for field in fields}
    assert found == documents.job_fields()
