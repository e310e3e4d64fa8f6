"""What each rule has said is counted by its name, also when rules are replaced."""

from __future__ import annotations

from headworks.limiter.v1.limiter_pb2 import PermitRequest
from headworks_core.cells import Meta
from headworks_limiter import rules
from headworks_limiter.counters import DecisionCounters
from headworks_limiter.domain.decision import Mode
from headworks_limiter.requests import RequestReader
from headworks_limiter.rule_counts import RuleCount
from headworks_limiter.store.memory import MemoryBuckets

RULES = b"""
namespaces:
  api:
    rules:
      - {name: user, match: {user: "*"}, limit: 10/day}
      - {name: ip, match: {ip: "*"}, limit: 100/day}
      - {name: trial, match: {user: "*"}, limit: 3/day, shadow: true}
"""


def test_requests_refusals_and_what_left_a_fifth_or_less() -> None:
    counters, buckets = DecisionCounters(), MemoryBuckets()
    for half in range(2):
        reader = RequestReader(rules.parse(RULES, path="r"), Meta())
        for _ in range(6):
            asked = PermitRequest(namespace="api", descriptors={"user": "ann", "ip": "1"})
            counters.decided([buckets.decide_at(reader.ask(asked, "t", Mode.TAKE), 1_000_000)])
        if not half:
            counters.rules.fold()  # as when the rules are replaced
    assert counters.rules.by_name() == {
        ("api", "user"): RuleCount(requests=12, refused=2, near_limit=3),  # 2, 1 and 0 left
        ("api", "ip"): RuleCount(requests=12),
        ("api", "trial"): RuleCount(requests=12, near_limit=1, shadow_refused=9),
    }
    assert dict(counters.rules.decisions())["api", "trial", "refused"] == 9
    assert dict(counters.rules.decisions())["api", "user", "allowed"] == 10
    assert dict(counters.refusals()) == {("api", "user"): 2}
    assert dict(counters.near_limits()) == {("api", "user"): 3, ("api", "trial"): 1}
