"""Reports about upstreams: every field is checked, and what is read is for the buckets that a request is held to."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from headworks.limiter.v1.limiter_service_pb2 import ReportOutcomeRequest
from headworks_core.cells import Meta
from headworks_core.errors import InvalidArgument, NotFound
from headworks_limiter import rules
from headworks_limiter.domain.grants import Reported
from headworks_limiter.domain.upstream import Feedback, Kind
from headworks_limiter.reporting import OutcomeReader, learned
from headworks_limiter.requests import RequestReader

RULES = b"""
namespaces:
  out:
    rules:
      - {name: provider, match: {host: "*"}, limit: 100/minute}
      - {name: uploads, match: {host: "*", route: POST /x}, limit: 5/hour}
"""
NOW_US = 1_772_323_199_000_000


def reader() -> OutcomeReader:
    return OutcomeReader(RequestReader(rules.parse(RULES, path="rules.yaml"), Meta()), now_us=lambda: NOW_US)


def request(**fields: Any) -> ReportOutcomeRequest:
    return ReportOutcomeRequest(**{"namespace": "out", "descriptors": {"host": "h"}, "status": 200, **fields})


def test_a_report_is_read_for_the_rules_that_the_request_meets() -> None:
    headers = {"Retry-After": "Sun, 01 Mar 2026 00:00:29 GMT", "X-RateLimit-Limit": "60"}
    asked = request(status=429, headers=headers, latency=Duration(nanos=250_000_000))
    ask, feedback = reader().read(asked, "default")

    assert [bucket.rule.name for bucket in ask.buckets] == ["provider"]
    assert feedback == Feedback(Kind.OVERLOAD, 30_000_000, None, 60, None, 250_000)
    route = request(descriptors={"host": "h", "route": "POST /x"})
    assert [bucket.rule.name for bucket in reader().read(route, "default")[0].buckets] == ["provider", "uploads"]


def test_no_answer_and_no_latency_are_read_as_such() -> None:
    _, feedback = reader().read(request(status=0), "default")
    assert feedback == Feedback(Kind.FAILURE, 0, None, None, None, None)


def test_all_fields_at_fault_are_told_at_once() -> None:
    bad = request(
        namespace="OUT",
        descriptors={"host": ""},
        grant_id="",
        status=99,
        headers={"": "1", "retry-after": "1" * 1_025},
        latency=Duration(seconds=86_400, nanos=1),
    )
    with pytest.raises(InvalidArgument) as caught:
        reader().read(bad, "default")
    assert [violation.field for violation in caught.value.violations] == [
        "namespace",
        "descriptors['host']",
        "grant_id",
        "status",
        "latency",
        "headers['']",
        "headers['retry-after']",
    ]
    with pytest.raises(InvalidArgument, match="headers: must have at most 32 fields, not 33"):
        reader().read(request(headers={f"x-{number}": "1" for number in range(33)}), "default")
    with pytest.raises(NotFound, match="namespace other has no rules here"):
        reader().read(request(namespace="other"), "default")


def test_the_reply_says_how_long_and_which_rules() -> None:
    reply = learned(Reported(1_500_000, ["provider"]))
    assert (reply.blocked_for.ToMicroseconds(), list(reply.rules)) == (1_500_000, ["provider"])
