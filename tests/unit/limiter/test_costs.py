"""What a request takes whose caller does not say."""

from __future__ import annotations

import pytest
from headworks.limiter.v1.limiter_pb2 import PermitRequest
from headworks_core.cells import Meta
from headworks_core.errors import InvalidArgument, Reason
from headworks_limiter import rules
from headworks_limiter.domain.decision import Mode
from headworks_limiter.requests import RequestReader

RULES = b"""
namespaces:
  api:
    rules:
      - {name: user, match: {user: "*"}, limit: 100/hour}
    costs:
      - {match: {endpoint: POST /api/export/all}, permits: 200}
      - {match: {endpoint: POST /api/export/**}, permits: 10}
      - {match: {endpoint: POST /api/**, plan: free}, permits: 3}
  other:
    rules:
      - {name: user, match: {user: "*"}, limit: 100/hour}
"""
ID = "6f2c1e1e-0d6a-4c7b-9a51-0b6c8f3f2a10"


def reader(text: bytes = RULES) -> RequestReader:
    return RequestReader(rules.parse(text, path="rules.yaml"), Meta())


def request(endpoint: str, namespace: str = "api", permits: int | None = None, request_id: str = "") -> PermitRequest:
    descriptors = {"user": "ann", "endpoint": endpoint}
    return PermitRequest(namespace=namespace, descriptors=descriptors, permits=permits, request_id=request_id)


@pytest.mark.parametrize(
    ("asked", "permits"),
    [
        (request("POST /api/export/year"), 10),
        (request("GET /api/export/year"), 1),
        (request("POST /api/export/year", permits=2), 2),
        (request("POST /api/export/all", permits=1), 1),
        (request("POST /api/export/year", namespace="other"), 1),
    ],
)
def test_the_first_line_that_fits_says_it_unless_the_caller_does(asked: PermitRequest, permits: int) -> None:
    known = reader()
    for _ in range(2):  # the second time it is remembered
        assert known.ask(asked, "default", Mode.TAKE).permits == permits
        assert known.take(asked.SerializeToString(), "default")[0].permits == permits


def test_a_line_with_several_keys_needs_them_all() -> None:
    asked = request("POST /api/x")
    assert reader().ask(asked, "default", Mode.TAKE).permits == 1
    asked.descriptors["plan"] = "free"
    assert reader().ask(asked, "default", Mode.TAKE).permits == 3


def test_a_cost_that_no_rule_can_ever_hold_is_an_error_that_says_both() -> None:
    with pytest.raises(InvalidArgument, match="permits 200 exceed the 100 that rule user can ever hold") as caught:
        reader().ask(request("POST /api/export/all"), "default", Mode.TAKE)
    assert caught.value.reason is Reason.PERMITS_EXCEED_LIMIT


def test_a_repeated_request_is_the_same_when_the_table_has_changed_meanwhile() -> None:
    asked = request("POST /api/export/year", request_id=ID)
    cheaper = RULES.replace(b"permits: 10", b"permits: 5")
    before, after = (reader(text).ask(asked, "default", Mode.TAKE) for text in (RULES, cheaper))
    assert (before.permits, after.permits) == (10, 5)
    assert before.fingerprint == after.fingerprint
    said = reader().ask(request("POST /api/export/year", permits=10, request_id=ID), "default", Mode.TAKE)
    assert said.fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("costs", "mistake"),
    [
        ("{}", "4: costs: must be a list (- item)"),
        ("[{match: {a: b}}]", "4: a cost: 'permits' missing"),
        ("[{permits: 1}]", "4: a cost: 'match' missing"),
        ("[{match: {a: b}, permits: 0}]", "4: permits: must be a whole number from 1 to 1,000,000,000, not '0'"),
        ("[{match: {A: b}, permits: 1}]", "4: match: a key must match [a-z0-9_.-]{1,64}, not 'A'"),
        ("[{match: {a: b}, permits: 1, cost: 2}]", "4: a cost: unknown key 'cost'; allowed: match, permits"),
        ("[x]", "4: a cost: must be a mapping (key: value)"),
        (f"[{'{match: {a: b}, permits: 1}, ' * 257}]", "4: costs: at most 256"),
    ],
)
def test_mistakes_have_their_lines(costs: str, mistake: str) -> None:
    with pytest.raises(rules.RulesError) as caught:
        rules.parse(f"namespaces:\n  api:\n    rules: []\n    costs: {costs}\n".encode(), path="r")
    assert [str(each) for each in caught.value.mistakes] == [f"r:{mistake}"]
