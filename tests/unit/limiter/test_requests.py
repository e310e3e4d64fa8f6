"""Every field of a request is checked, and all that is wrong is told at once."""

from __future__ import annotations

from typing import Any

import pytest
from headworks.limiter.v1.limiter_pb2 import DETAIL_ALL, PermitRequest
from headworks_core.cells import Meta
from headworks_core.errors import InvalidArgument, NotFound, Reason
from headworks_limiter import rules
from headworks_limiter.domain.decision import Mode
from headworks_limiter.requests import RequestReader

RULES = b"""
namespaces:
  api:
    rules:
      - {name: per-user, match: {user: "*"}, limit: 100, per: 1m}
      - {name: uploads, match: {user: "*", endpoint: POST /x}, limit: 5, per: 1h, algorithm: fixed_window}
"""
ID = "6f2c1e1e-0d6a-4c7b-9a51-0b6c8f3f2a10"


def reader(cells: int = 1) -> RequestReader:
    return RequestReader(rules.parse(RULES, path="rules.yaml"), Meta(cells=cells))


def request(**fields: Any) -> PermitRequest:
    return PermitRequest(**{"namespace": "api", "descriptors": {"user": "ann"}, **fields})


def fields_at_fault(bad: PermitRequest, path: str = "") -> dict[str, str]:
    with pytest.raises(InvalidArgument) as caught:
        reader().ask(bad, "default", Mode.TAKE, path)
    assert caught.value.reason is Reason.INVALID_FIELD
    return {violation.field: violation.description for violation in caught.value.violations}


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"namespace": ""}, "namespace", "must match [a-z0-9_-]{1,64}"),
        ({"namespace": "API"}, "namespace", "must match [a-z0-9_-]{1,64}"),
        ({"namespace": "a" * 65}, "namespace", "must match [a-z0-9_-]{1,64}"),
        ({"descriptors": {}}, "descriptors", "must have 1 to 16 pairs, not 0"),
        ({"descriptors": {f"k{n}": "v" for n in range(17)}}, "descriptors", "must have 1 to 16 pairs, not 17"),
        ({"descriptors": {"": "v"}}, "descriptors['']", "the key must match [a-z0-9_.-]{1,64}"),
        ({"descriptors": {"User": "v"}}, "descriptors['User']", "the key must match [a-z0-9_.-]{1,64}"),
        ({"descriptors": {"k" * 65: "v"}}, f"descriptors['{'k' * 64}']", "the key must match [a-z0-9_.-]{1,64}"),
        ({"descriptors": {"é": "v"}}, "descriptors['\\xe9']", "the key must match [a-z0-9_.-]{1,64}"),
        ({"descriptors": {"user": ""}}, "descriptors['user']", "the value must be 1 to 256 bytes long"),
        ({"descriptors": {"user": "é" * 129}}, "descriptors['user']", "the value must be 1 to 256 bytes long"),
        ({"permits": 0}, "permits", "must be 1 to 1,000,000,000"),
        ({"permits": -1}, "permits", "must be 1 to 1,000,000,000"),
        ({"permits": 1_000_000_001}, "permits", "must be 1 to 1,000,000,000"),
        ({"request_id": "once"}, "request_id", "must be a UUID in lower case, or empty"),
        ({"request_id": ID.upper()}, "request_id", "must be a UUID in lower case, or empty"),
        ({"request_id": ID + "\n"}, "request_id", "must be a UUID in lower case, or empty"),
        ({"detail": 3}, "detail", "must be a value of Detail"),
    ],
)
def test_a_bad_field_is_named_with_its_rule(fields: dict[str, Any], field: str, rule: str) -> None:
    assert fields_at_fault(request(**fields)) == {field: rule}


def test_all_bad_fields_are_named_at_once_after_the_path_of_the_request() -> None:
    bad = PermitRequest(namespace="A", descriptors={"K": ""}, permits=0, request_id="x", detail=9)  # type: ignore[arg-type]
    assert set(fields_at_fault(bad, "request.")) == {
        "request.namespace",
        "request.descriptors['K']",
        "request.permits",
        "request.request_id",
        "request.detail",
    }


def test_bad_fields_are_found_in_a_request_whose_descriptors_are_known() -> None:
    known = reader()
    known.ask(request(), "default", Mode.TAKE)
    with pytest.raises(InvalidArgument, match="permits"):
        known.ask(request(permits=0), "default", Mode.TAKE)


def test_an_error_never_repeats_a_value() -> None:
    with pytest.raises(InvalidArgument) as caught:
        reader().ask(request(descriptors={"user": "secret" * 99, "K": "hidden"}), "default", Mode.TAKE)
    assert "secret" not in caught.value.message
    assert "hidden" not in caught.value.message


def test_the_largest_of_everything_is_good() -> None:
    descriptors = {f"{'k' * 62}{n:02}": "v" * 256 for n in range(15)} | {"user": "é" * 128}
    ask = reader().ask(request(descriptors=descriptors, permits=100, request_id=ID, detail=DETAIL_ALL), "t", Mode.TAKE)
    assert ask.permits == 100


def test_permits_are_one_unless_they_are_said() -> None:
    assert reader().ask(request(), "default", Mode.TAKE).permits == 1


def test_an_unknown_namespace_is_not_found() -> None:
    with pytest.raises(NotFound) as caught:
        reader().ask(request(namespace="other"), "default", Mode.TAKE)
    assert caught.value.reason is Reason.NAMESPACE_NOT_FOUND


def test_without_rules_no_namespace_is_found() -> None:
    with pytest.raises(NotFound):
        RequestReader(rules.Rules(), Meta()).ask(request(), "default", Mode.TAKE)


def test_every_rule_that_is_met_has_its_bucket_in_the_order_of_the_file() -> None:
    both = reader().ask(request(descriptors={"user": "ann", "endpoint": "POST /x"}), "default", Mode.TAKE)
    assert [bucket.rule.name for bucket in both.buckets] == ["per-user", "uploads"]
    assert reader().ask(request(descriptors={"ip": "::1"}), "default", Mode.TAKE).buckets == ()


def test_tenants_with_the_same_descriptors_have_other_buckets_and_records() -> None:
    shared = reader(cells=64)
    one = shared.ask(request(request_id=ID), "one", Mode.TAKE)
    two = shared.ask(request(request_id=ID), "two", Mode.TAKE)
    assert one.buckets[0].key != two.buckets[0].key
    assert one.record != two.record
    assert one.cell != two.cell
    assert one.buckets[0].key.startswith(f"{{hw:{one.cell}}}:lim:one:")


@pytest.mark.parametrize("mode", [Mode.LOOK, Mode.TAKE])
def test_more_permits_than_the_smallest_rule_can_hold_are_an_error_of_their_own(mode: Mode) -> None:
    met = request(descriptors={"user": "ann", "endpoint": "POST /x"}, permits=6)
    with pytest.raises(InvalidArgument, match="permits 6 exceed the 5 that rule uploads can ever hold") as caught:
        reader().ask(met, "default", mode)
    assert caught.value.reason is Reason.PERMITS_EXCEED_LIMIT
    assert caught.value.retry_after_us is None


def test_with_a_request_id_the_record_decides_whether_too_many_were_granted_before() -> None:
    assert reader().ask(request(permits=101, request_id=ID), "default", Mode.TAKE).mode is Mode.RECALL


def test_check_ignores_the_request_id() -> None:
    ask = reader().ask(request(request_id="no id"), "default", Mode.LOOK)
    assert (ask.record, ask.fingerprint) == ("", "")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headworks_limiter.requests.MAX_PLANS", 10)
    bounded = reader()
    first = bounded.ask(request(descriptors={"user": "0"}), "default", Mode.TAKE)
    for number in range(1, 25):
        bounded.ask(request(descriptors={"user": str(number)}), "default", Mode.TAKE)
        assert bounded.remembered <= 10
    assert bounded.ask(request(descriptors={"user": "0"}), "default", Mode.TAKE).buckets[0].key == first.buckets[0].key
