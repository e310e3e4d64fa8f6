"""Rates from the counts of replicas at two moments."""

from __future__ import annotations

from headworks_client.rules import ReplicaCounts, RuleCount
from headworks_devkit.hot_rules import RuleRate, rates


def counts(replica: str, uptime_s: float, **requests: int) -> ReplicaCounts:
    rules = tuple(RuleCount("api", rule, count, count // 2, count // 4, 0) for rule, count in requests.items())
    return ReplicaCounts(replica, uptime_s, rules)


def test_replicas_are_added_each_by_its_own_clock() -> None:
    before = [counts("a", 10, user=100, ip=8), counts("b", 20, user=0)]
    after = [counts("a", 12, user=140, ip=8), counts("b", 21, user=40), counts("new", 1, user=1_000)]
    assert rates(before, after) == [RuleRate("api", "user", 20 + 40, 10 + 20, 5 + 10)]


def test_one_that_began_anew_counts_from_its_beginning() -> None:
    assert rates([counts("a", 1_000, user=500)], [counts("a", 2, user=40)]) == [RuleRate("api", "user", 20, 10, 5)]


def test_one_that_is_gone_counts_for_nothing() -> None:
    assert rates([counts("a", 10, user=500)], []) == []
