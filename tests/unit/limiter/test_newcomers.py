"""Tenants cannot begin with any number of buckets."""

from __future__ import annotations

import pytest
from headworks.limiter.v1.limiter_pb2 import PermitRequest
from headworks_core.cells import Meta
from headworks_core.errors import Reason, ResourceExhausted
from headworks_limiter import rules
from headworks_limiter.domain.decision import Mode
from headworks_limiter.newcomers import Newcomers
from headworks_limiter.requests import RequestReader

RULES = b"""
namespaces:
  api:
    rules:
      - {name: user, match: {user: "*"}, limit: 10/hour}
      - {name: ip, match: {ip: "*"}, limit: 10/hour}
"""


class Clock:
    now_s = 1_200.0

    def __call__(self) -> float:
        return self.now_s


def ask(reader: RequestReader, user: str, tenant: str = "default", ip: str = "") -> None:
    descriptors = {"user": user, **({"ip": ip} if ip else {})}
    reader.ask(PermitRequest(namespace="api", descriptors=descriptors), tenant, Mode.TAKE)


def test_one_too_many_is_refused_until_the_minute_is_over_and_known_ones_go_on() -> None:
    clock = Clock()
    newcomers = Newcomers(3, clock_s=clock)
    reader = RequestReader(rules.parse(RULES, path="r"), Meta(), newcomers=newcomers)
    ask(reader, "a", ip="1")
    ask(reader, "b")
    clock.now_s += 20
    with pytest.raises(ResourceExhausted, match="3 buckets") as caught:
        ask(reader, "c")
    assert caught.value.reason is Reason.TOO_MANY_BUCKETS
    assert caught.value.retry_after_us == pytest.approx(40_000_000, abs=10)
    ask(reader, "a", ip="1")
    ask(reader, "b")
    ask(reader, "c", tenant="other")
    assert newcomers.refused == 1
    clock.now_s += 40
    ask(reader, "c")


def test_a_request_with_more_than_is_left_counts_for_nothing() -> None:
    newcomers = Newcomers(2, clock_s=Clock())
    newcomers.met("t", 1)
    with pytest.raises(ResourceExhausted):
        newcomers.met("t", 2)
    newcomers.met("t", 1)


def test_zero_is_any_number() -> None:
    newcomers = Newcomers(0)
    for _ in range(10):
        newcomers.met("t", 1_000_000_000)
