"""The scripts agree with the model whatever happens in whatever order, and the documents with both."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.scheduler_store import documents
from tests.integration.scheduler_store.machine import Seen, StoreMachine

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
    return seen


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
