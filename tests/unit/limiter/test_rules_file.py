"""The rules file: what it may say, and every mistake at once with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from headworks_limiter import rules
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.patterns import Pattern
from headworks_limiter.domain.periods import Period
from headworks_limiter.domain.rule import OnStoreFailure
from headworks_limiter.rules import RulesError

EXAMPLES = Path(__file__).parents[3] / "examples"


def mistakes(text: str) -> list[str]:
    """What is wrong with a file, one line each."""
    with pytest.raises(RulesError) as caught:
        rules.parse(text.encode(), path="rules.yaml")
    assert caught.value.message.splitlines() == [str(mistake) for mistake in caught.value.mistakes]
    return [str(mistake).removeprefix("rules.yaml:") for mistake in caught.value.mistakes]


def rule(**fields: str) -> str:
    """A file with one good rule, in which some fields are replaced, added or (with "") left out."""
    good = {"name": "r", "match": '{user: "*"}', "limit": "10", "per": "1m"}
    lines = [f"{key}: {value}" for key, value in {**good, **fields}.items() if value]
    return "namespaces:\n  api:\n    rules:\n      - " + "\n        ".join(lines) + "\n"


def test_a_rule_says_all_it_can() -> None:
    text = """
namespaces:
  api:
    rules:
      - name: uploads
        match: {user: "*", endpoint: POST /uploads}
        limit: 1_000
        per: 2 hours
        burst: 50
        shadow: true
        on_store_failure: local
      - {name: quota, match: {}, limit: 5, per: month, algorithm: fixed_window, align: first_hit}
  empty:
    rules: []
"""
    loaded = rules.parse(text.encode(), path="rules.yaml")
    uploads, quota = loaded.namespaces["api"]
    assert uploads.match == (("endpoint", Pattern("POST /uploads")), ("user", Pattern("*")))
    assert uploads.params == Gcra(1_000, 7_200_000_000, 50)
    assert (uploads.on_store_failure, uploads.shadow, quota.shadow) == (OnStoreFailure.LOCAL, True, False)
    assert quota.params == FixedWindow(5, Period(months=1), first_hit=True)
    assert quota.on_store_failure is OnStoreFailure.ERROR
    assert loaded.namespaces["empty"] == []


def test_the_burst_is_the_limit_unless_it_is_said() -> None:
    (only,) = rules.parse(rule(limit="7").encode(), path="rules.yaml").namespaces["api"]
    assert only.params == Gcra(7, 60_000_000, 7)


def test_a_limit_may_be_a_rate() -> None:
    for text, params in {
        "5/hour": Gcra(5, 3_600_000_000, 5),
        "100 per 5 minutes": Gcra(100, 300_000_000, 100),
        "1_000 / 1d": Gcra(1_000, 86_400_000_000, 1_000),
        "10,000/week": Gcra(10_000, 604_800_000_000, 10_000),
    }.items():
        (only,) = rules.parse(rule(limit=text, per="").encode(), path="x").namespaces["api"]
        assert only.params == params


def test_a_rule_with_several_limits_is_a_rule_for_each() -> None:
    text = rule(limit="", per="", limits="[10/second, 600/minute, 1000/90s, 9/3 months]", algorithm="fixed_window")
    found = rules.parse(text.encode(), path="x").namespaces["api"]
    assert [each.name for each in found] == ["r.1s", "r.1m", "r.90s", "r.3mo"]
    assert [each.params.capacity for each in found] == [10, 600, 1000, 9]
    assert len({each.id for each in found}) == 4


def test_overrides_have_limits_of_their_own_for_tenants_and_tiers() -> None:
    text = """
namespaces:
  api:
    rules:
      - name: reads
        match: {user: "*"}
        limit: 300
        per: hour
        algorithm: fixed_window
        overrides:
          - {tenant: acme-*, match: {plan: premium}, limits: [100/second, 50_000/hour]}
          - {match: {plan: premium}, limit: 5_000}
          - {tenant: internal, limit: unlimited}
      - name: writes
        match: {user: "*"}
        limits: [10/minute, 100/hour]
        overrides:
          - {match: {user: bot-*}, limit: 1/minute}
"""
    loaded = rules.parse(text.encode(), path="x")

    def met(tenant: str, **descriptors: str) -> list[tuple[str, int]]:
        found = loaded.meeting("api", tenant, descriptors)
        return [(each.name, each.params.capacity) for each in found or []]

    writes = [("writes.1m", 10), ("writes.1h", 100)]
    assert met("t", user="ann") == [("reads", 300), *writes]
    assert met("t", user="ann", plan="premium") == [("reads", 5_000), *writes]
    assert met("acme-7", user="ann", plan="premium") == [("reads.1s", 100), ("reads.1h", 50_000), *writes]
    assert met("internal", user="ann") == writes
    assert met("t", user="bot-1") == [("reads", 300), ("writes", 1)]
    assert {each.params.kind for each in loaded.namespaces["api"][:1]} == {"fixed_window-3600000000us"}


def test_values_are_text_as_it_is_written() -> None:
    (only,) = rules.parse(rule(match="{version: 1, premium: yes, ratio: 0.50}").encode(), path="x").namespaces["api"]
    assert [(key, pattern.text) for key, pattern in only.match] == [
        ("premium", "yes"),
        ("ratio", "0.50"),
        ("version", "1"),
    ]


def test_the_example_is_good() -> None:
    assert rules.load(EXAMPLES / "rules.yaml").namespaces


def test_all_mistakes_of_a_file_are_told_at_once_in_the_order_of_lines() -> None:
    text = """namespaces:
  API:
    rules:
      - name: Bad Name
        match: {user: "*"}
        limit: 0
        per: 1 fortnight
      - name: twice
        match: {user: "*", user: x}
        limit: 10
        per: 1m
        burts: 3
      - name: twice
        match: {user: "*"}
        limit: 10
        per: 1m
        algorithm: sliding
        on_store_failure: maybe
  other:
    rule: []
"""
    assert [line.split(":")[0] for line in mistakes(text)] == [
        "2",
        "4",
        "6",
        "7",
        "9",
        "12",
        "13",
        "17",
        "18",
        "19",
        "20",
    ]


@pytest.mark.parametrize(
    ("fields", "line", "words"),
    [
        ({"limit": "0"}, 6, "limit: must be a whole number from 1 to 1,000,000,000,000, not '0'"),
        ({"limit": "1000000000001"}, 6, "limit: must be a whole number"),
        ({"limit": "1.5"}, 6, "limit: must be a whole number"),
        ({"limit": "'10'"}, 6, "limit: must be a whole number"),
        ({"limit": "010"}, 6, "limit: must be a whole number"),
        ({"limit": "1:30"}, 6, "limit: must be a whole number"),
        ({"limit": "[10]"}, 6, "limit: must be a whole number"),
        ({"limit": ""}, 4, "'limit' is missing: a number with 'per', a rate like 5/hour, or 'limits'"),
        ({"match": ""}, 4, "'match' missing"),
        (
            {"per": ""},
            6,
            "limit: must be so many per period, like 5/hour or 100 per 5 minutes, not '10'; a number alone",
        ),
        ({"limit": "5/hour"}, 7, "per: limit says '5/hour' already"),
        ({"limit": "5/fortnight", "per": ""}, 6, "limit: must be so many per period, like 5/hour or 100 per 5 minutes"),
        ({"limit": "2_000_000_000_000/day", "per": ""}, 6, "limit: at most 1,000,000,000,000, not 2,000,000,000,000"),
        ({"limit": "unlimited", "per": ""}, 6, "limit: unlimited is for overrides; leave the rule out"),
        ({"limit": "", "per": "", "limits": "[]"}, 6, "limits: 1 to 8 rates, not 0"),
        ({"limit": "", "per": "", "limits": "[1/s, 60/minute, 2/1s]"}, 6, "limits: the period of 2 is there twice"),
        ({"limit": "", "per": "", "limits": "[1/s, x]"}, 6, "limits: must be so many per period"),
        ({"limit": "", "limits": "[1/s]"}, 6, "per: not beside limits"),
        ({"overrides": "[{limit: 5}]"}, 8, "an override: 'tenant' or 'match' is missing: whom is it for?"),
        ({"overrides": "[{tenant: a}]"}, 8, "'limit' is missing"),
        ({"overrides": "[{tenant: a, limit: 0}]"}, 8, "limit: must be a whole number from 1 to"),
        ({"overrides": "[{tenant: a, limit: unlimited, burst: 3}]"}, 8, "burst: not beside unlimited"),
        (
            {"overrides": "[{tenant: a, limit: 5, algorithm: gcra}]"},
            8,
            "an override: unknown key 'algorithm'; allowed: ",
        ),
        ({"shadow": "maybe"}, 8, "shadow: must be true or false"),
        ({"overrides": "{tenant: a}"}, 8, "overrides: must be a list"),
        ({"burst": "0"}, 8, "burst: must be a whole number"),
        ({"burst": "5", "algorithm": "fixed_window"}, 8, "burst: only for algorithm gcra and token_bucket"),
        ({"align": "calendar"}, 8, "align: only for algorithm fixed_window"),
        (
            {"align": "monday", "algorithm": "fixed_window"},
            8,
            "align: must be one of calendar, first_hit, not 'monday'",
        ),
        (
            {"limit": "1001", "algorithm": "sliding_window_log"},
            6,
            "limit: at most 1,000 with algorithm sliding_window_log",
        ),
        ({"per": "month", "algorithm": "sliding_window_log"}, 7, "per: months and years have no fixed length"),
        (
            {"algorithm": "token"},
            8,
            "algorithm: must be one of gcra, token_bucket, fixed_window, sliding_window_counter, ",
        ),
        ({"per": "month", "algorithm": "token_bucket"}, 7, "per: months and years have no fixed length"),
        (
            {"per": "3650d", "burst": "1000", "algorithm": "token_bucket"},
            8,
            "burst: 1,000 would take longer than 71 years to come back at",
        ),
        ({"on_store_failure": "no"}, 8, "on_store_failure: must be one of error, deny, local, allow, not 'no'"),
        ({"per": "60"}, 7, "per: must be a number and a unit"),
        ({"per": "1us"}, 7, "per: must be a number and a unit"),
        ({"per": "11 years"}, 7, "per: must be a number and a unit"),
        ({"per": "null"}, 7, "per: must be a number and a unit"),
        ({"per": "month"}, 7, "per: months and years have no fixed length"),
        ({"limit": "1000003", "per": "1d"}, 6, "cannot be counted exactly"),
        ({"name": "UPPER"}, 4, "name: must match"),
        ({"name": "~"}, 4, "name: must be text"),
        ({"match": "[user]"}, 5, "match: must be a mapping"),
        ({"match": "{User: x}"}, 5, "match: a key must match"),
        ({"match": "{user: }"}, 5, "match: user: must be a value"),
        ({"match": "{user: ''}"}, 5, "match: user: must be 1 to 256 bytes long"),
        ({"match": f"{{user: {'é' * 129}}}"}, 5, "match: user: must be 1 to 256 bytes long"),
        ({"match": "{user: a**}"}, 5, "match: user: 'a**' means nothing"),
        ({"match": "{user: [a]}"}, 5, "match: user: must be a value"),
        ({"match": "{" + ", ".join(f"k{n}: v" for n in range(17)) + "}"}, 5, "match: at most 16 keys"),
        ({"match": "{[a]: x}"}, 5, "match: a key must be text"),
        (
            {"cost": "1"},
            8,
            "a rule: unknown key 'cost'; allowed: algorithm, align, burst, calls, count_denied,",
        ),
    ],
)
def test_a_mistake_in_a_rule_has_its_line_and_says_what_is_allowed(
    fields: dict[str, str], line: int, words: str
) -> None:
    (only,) = mistakes(rule(**fields))
    assert only.startswith(f"{line}: ")
    assert words in only


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1: the file is empty"),
        ("namespaces: [", "1: not YAML"),
        ("a: b\n---\nc: d", "2: not YAML"),
        ("namespaces:\n\t- x", "2: not YAML"),
        ("namespaces:\n  api:\n    rules:\n      - {name: a, match: {user: *}}", "4: not YAML"),
        ("- a", "1: the file: must be a mapping"),
        ("{}", "1: the file: 'namespaces' is missing"),
        ("namespace: {}", "1: the file: unknown key 'namespace'; allowed: namespaces"),
        ("namespaces: {a: {rules: []}, a: {rules: []}}", "1: namespaces: 'a' is there twice, first in line 1"),
        ("namespaces: {'a b': {rules: []}}", "1: namespace 'a b': must match"),
        ("namespaces: {a: }", "1: namespace a: must be a mapping"),
        ("namespaces: {a: {}}", "1: namespace a: 'rules' is missing"),
        ("namespaces: {a: {rules: {}}}", "1: namespace a: rules: must be a list"),
        ("namespaces: {a: {rules: [x]}}", "1: a rule: must be a mapping"),
        ("namespaces: {a: {rules: [{}]}}", "1: a rule: 'name', 'match' missing"),
        ("[" * 10_000, "1: not readable: nested too deeply"),
        ("namespaces: \x07", "1: not YAML"),
    ],
)
def test_a_file_of_another_shape_is_a_mistake(text: str, words: str) -> None:
    assert any(line.startswith(words) for line in mistakes(text))


def test_a_star_without_quotes_is_explained() -> None:
    assert 'must be quoted: "*"' in mistakes(rule(match="{user: *}"))[0]


def test_more_rules_than_a_request_may_meet_are_a_mistake() -> None:
    item = "      - {name: r%d, match: {}, limit: 1, per: 1m}\n"
    text = "namespaces:\n  api:\n    rules:\n" + "".join(item % number for number in range(65))
    assert mistakes(text) == ["68: namespace api: at most 64 rules"]


@pytest.mark.parametrize(("rules_there", "found"), [(8, []), (9, ["2: namespace api: at most 64 limits, not 72"])])
def test_limits_that_an_override_puts_in_place_of_one_count_too(rules_there: int, found: list[str]) -> None:
    rates = ", ".join(f"9/{hours}h" for hours in range(1, 9))
    item = f"      - {{name: r%d, match: {{}}, limit: 1/day, overrides: [{{tenant: a, limits: [{rates}]}}]}}\n"
    text = "namespaces:\n  api:\n    rules:\n" + "".join(item % number for number in range(rules_there))
    if found:
        assert mistakes(text) == found
    else:
        assert len(rules.parse(text.encode(), path="x").meeting("api", "a", {}) or ()) == 64


def test_a_file_that_is_not_utf_8_or_too_large_is_a_mistake() -> None:
    with pytest.raises(RulesError, match=r"^x:2: not UTF-8$"):
        rules.parse(b"namespaces:\n  \xff", path="x")
    with pytest.raises(RulesError, match=r"larger than 1,048,576 bytes"):
        rules.parse(b"#" * (1 << 20) + b"#", path="x")


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match=r"none\.yaml: cannot be read: No such file"):
        rules.load(tmp_path / "none.yaml")
    with pytest.raises(RulesError, match="cannot be read: Is a directory"):
        rules.load(tmp_path)


def test_a_rule_of_the_platform_says_so() -> None:
    content = b"""
namespaces:
  api:
    rules:
      - {name: a, match: {}, limit: 5/hour, scope: platform, overrides: [{tenant: own, limit: unlimited}]}
      - {name: b, match: {}, limit: 5/hour, scope: tenant}
      - {name: c, match: {}, limits: [5/hour, 9/day], scope: platform, overrides: [{match: {x: y}, limit: 7/hour}]}
"""
    found = rules.parse(content, path="rules.yaml").namespaces["api"]
    assert [(rule.name, rule.platform) for rule in found] == [("a", True), ("b", False), ("c.1h", True), ("c.1d", True)]
    assert found[2].for_caller("any", {"x": "y"})[0].platform


def test_no_tenant_has_another_limit_of_a_bucket_that_all_share() -> None:
    content = b"""
namespaces:
  api:
    rules:
      - {name: a, match: {}, limit: 5/hour, scope: platform, overrides: [{tenant: own, limit: 7/hour}]}
      - {name: b, match: {}, limit: 5/hour, scope: world}
"""
    with pytest.raises(rules.RulesError) as raised:
        rules.parse(content, path="rules.yaml")
    first, second = [mistake.message for mistake in raised.value.mistakes]
    assert "a tenant's own limit can only be unlimited" in first
    assert "scope" in second
    assert "'world'" in second
