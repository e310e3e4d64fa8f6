"""The rules file: what it may say, and every mistake at once with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from headworks_limiter import rules
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
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
        on_store_failure: local
      - {name: quota, match: {}, limit: 5, per: month, algorithm: fixed_window, align: first_hit}
  empty:
    rules: []
"""
    loaded = rules.parse(text.encode(), path="rules.yaml")
    uploads, quota = loaded.namespaces["api"]
    assert uploads.match == (("endpoint", "POST /uploads"), ("user", "*"))
    assert uploads.params == Gcra(1_000, 7_200_000_000, 50)
    assert uploads.on_store_failure is OnStoreFailure.LOCAL
    assert quota.params == FixedWindow(5, Period(months=1), first_hit=True)
    assert quota.on_store_failure is OnStoreFailure.ERROR
    assert loaded.namespaces["empty"] == []


def test_the_burst_is_the_limit_unless_it_is_said() -> None:
    (only,) = rules.parse(rule(limit="7").encode(), path="rules.yaml").namespaces["api"]
    assert only.params == Gcra(7, 60_000_000, 7)


def test_values_are_text_as_it_is_written() -> None:
    (only,) = rules.parse(rule(match="{version: 1, premium: yes, ratio: 0.50}").encode(), path="x").namespaces["api"]
    assert only.match == (("premium", "yes"), ("ratio", "0.50"), ("version", "1"))


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
        ({"limit": ""}, 4, "'limit' missing"),
        ({"match": "", "per": ""}, 4, "'match', 'per' missing"),
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
        ({"match": "{user: a*}"}, 5, 'match: user: "*" stands alone'),
        ({"match": "{user: [a]}"}, 5, "match: user: must be a value"),
        ({"match": "{" + ", ".join(f"k{n}: v" for n in range(17)) + "}"}, 5, "match: at most 16 keys"),
        ({"match": "{[a]: x}"}, 5, "match: a key must be text"),
        ({"cost": "1"}, 8, "a rule: unknown key 'cost'; allowed: algorithm, align, burst, limit, match, name,"),
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
        ("namespaces: {a: {rules: [{}]}}", "1: a rule: 'name', 'match', 'limit', 'per' missing"),
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
