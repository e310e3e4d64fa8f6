"""Files of envoyproxy/ratelimit: what it accepts is accepted, what it refuses is refused, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from headworks_limiter.envoy import rules_file
from headworks_limiter.envoy.limits import Domains, Limit
from headworks_limiter.envoy.windows import Unit
from headworks_limiter.rules import RulesError

EXAMPLE = Path(__file__).parents[3] / "examples" / "envoy" / "rules.yaml"


def load(folder: Path, text: str) -> Domains:
    file = folder / "rules.yaml"
    file.write_text(text)
    return rules_file.load(file)


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(RulesError) as caught:
        load(folder, text)
    return [f"{mistake.line}: {mistake.message}" for mistake in caught.value.mistakes]


def one(folder: Path, descriptor: str, key: str = "k") -> Limit:
    """The limit of a file's only descriptor."""
    level = load(folder, f"domain: d\ndescriptors: [{{key: k, {descriptor}}}]\n").by_name["d"].below[key]
    assert level.limit is not None
    return level.limit


def test_a_rule_says_all_it_can(tmp_path: Path) -> None:
    text = """
domain: d
descriptors:
  - key: k
    value: v*
    shadow_mode: true
    quota_mode: true
    detailed_metric: true
    value_to_metric: true
    share_threshold: true
    metadata: {tier: {name: free, rank: 3}, tags: [a, 1.5, null, true]}
    rate_limit:
      unit: Minute
      requests_per_unit: 10
      name: mine
      replaces: [{name: other}, {name: third}]
    descriptors:
      - {key: below, rate_limit: {unlimited: true}}
"""
    level = load(tmp_path, text).by_name["d"].below["k_v*"]

    assert level.shared == "k_v*"
    limit = level.limit
    assert limit is not None
    assert (limit.requests_per_unit, limit.unit, limit.name, limit.rule) == (10, Unit.MINUTE, "mine", "k_v*")
    assert (limit.shadow, limit.quota, sorted(limit.replaces)) == (True, True, ["other", "third"])
    assert limit.metadata == {"tier": {"name": "free", "rank": 3}, "tags": ["a", 1.5, None, True]}
    below = level.below["below"].limit
    assert below is not None
    assert (below.unit, below.rule) == (None, "k_v*.below")


@pytest.mark.parametrize("word", ["second", "MINUTE", "Hour", "day", "week", "month", "year"])
def test_every_unit_in_any_case(tmp_path: Path, word: str) -> None:
    assert one(tmp_path, f"rate_limit: {{unit: {word}, requests_per_unit: 1}}").unit is Unit[word.upper()]


@pytest.mark.parametrize(
    "text",
    [
        "domain: d",
        "domain: d\ndescriptors:",
        "domain: 7\ndescriptors: []",
        "domain: d\ndescriptors: [{key: k}]",
        "domain: d\ndescriptors: [{key: 1, value: 10}, {key: 1, value: true}]",
        "domain: d\ndescriptors: [{key: k, rate_limit: }]",
        "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day}}]",  # 0 requests: all are refused
        "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 4_294_967_295}}]",
        "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 0x10}}]",
        "domain: d\ndescriptors: [{key: k, rate_limit: {unlimited: yes, unit: unknown}}]",
        "domain: d\ndescriptors: [{key: k, unit: day, name: n, domain: x}]",  # known keys, where they mean nothing
        "domain: d\ndomain: e\ndescriptors: [{key: k, key: l}]",
        "domain: d\ndescriptors: [{key: k, value: '1.5'}, {key: k, value: 10.0.0.1}]",
        "domain: d\ndescriptors: [{key: k, value: 2026-01-01}]",
        "domain: d\nname: &x {unit: day}\ndescriptors: [{key: k, rate_limit: {<<: *x, requests_per_unit: 3}}]",
        "domain: d\ndescriptors: [{key: k_v}, {key: k, value: w}]",
        "domain: d\ndescriptors: [{key: k, shadow_mode: , replaces: }]",
    ],
)
def test_what_is_accepted_there_is_accepted(tmp_path: Path, text: str) -> None:
    assert len(load(tmp_path, text).by_name) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1: the file is empty"),
        ("- domain: d", "1: the file: must be a mapping"),
        ("descriptors: []", "1: the domain is missing, or empty"),
        ("domain: ''", "1: the domain is missing, or empty"),
        ("domain: [d]", "1: a list must have mappings"),
        ("domain: d\nrules: []", "2: unknown key 'rules'"),
        ("domain: d\n1: x", "2: a key must be text"),
        ("domain: d\non: x", "2: a key must be text"),
        ("domain: d\ndescriptors: {}", "2: descriptors: must be a list"),
        ("domain: d\ndescriptors: [x]", "2: a list must have mappings"),
        ("domain: d\ndescriptors: [{value: v}]", "2: a descriptor: the key is missing"),
        ("domain: d\ndescriptors: [{key: ''}]", "2: a descriptor: the key is missing"),
        ("domain: d\ndescriptors:\n - {key: k}\n - {key: k}", "4: descriptor 'k' is there twice"),
        ("domain: d\ndescriptors:\n - {key: k_v}\n - {key: k, value: v}", "4: descriptor 'k_v' is there twice"),
        ("domain: d\ndescriptors: [{key: k, value: 1.5}]", "2: a fraction, 1.5, must be quoted"),
        ("domain: d\ndescriptors: [{key: k, value: 1e5}]", "2: a fraction, 1e5, must be quoted"),
        ("domain: d\ndescriptors: [{key: k, value: {key: v}}]", "2: value: must be text"),
        ("domain: d\ndescriptors: [{key: k, shadow_mode: 1}]", "2: shadow_mode: must be true or false"),
        ("domain: d\ndescriptors: [{key: k, shadow_mode: 'true'}]", "2: shadow_mode: must be true or false"),
        ("domain: d\ndescriptors: [{key: k, value: v, share_threshold: true}]", "2: share_threshold: 'k_v' has no *"),
        ("domain: d\ndescriptors: [{key: k, metadata: x}]", "2: metadata: must be a mapping"),
        ("domain: d\ndescriptors: [{key: k, rate_limit: x}]", "2: rate_limit: must be a mapping"),
        (
            "domain: d\ndescriptors: [{key: k, rate_limit: {}}]",
            "2: unit: must be one of second, minute, hour, day, week",
        ),
        ("domain: d\ndescriptors: [{key: k, rate_limit: {unit: fortnight}}]", "2: unit: must be one of"),
        ("domain: d\ndescriptors: [{key: k, rate_limit: {unit: unknown}}]", "2: unit: must be one of"),
        ("domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, unlimited: true}}]", "2: unit: what is unlimited"),
        ("domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: -1}}]", "2: requests_per_unit"),
        ("domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 4294967296}}]", "2: requests_"),
        ("domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: '1'}}]", "2: requests_per_unit"),
        ("domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, replaces: [{name: }]}}]", "2: replaces: a name"),
        (
            "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, name: n, replaces: [{name: n}]}}]",
            "2: replaces: 'n' is the limit itself",
        ),
        ("domain: d\ndescriptors: &a [{key: k, descriptors: *a}]", "2: nested too deeply"),
    ],
)
def test_what_is_refused_there_is_refused(tmp_path: Path, text: str, says: str) -> None:
    assert mistakes(tmp_path, text)[0].startswith(says)


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    text = "domain: d\nx: 1\ndescriptors:\n - {key: k, rate_limit: {unit: week}}\n - {key: k}\n - {value: v}\n"

    assert [mistake[:2] for mistake in mistakes(tmp_path, text)] == ["2:", "5:", "6:"]


def test_a_folder_has_a_domain_a_file(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", ".hidden.yaml", "notes.txt"):
        (tmp_path / name).write_text(f"domain: {name[0]}\n")

    assert list(rules_file.load(tmp_path).by_name) == ["a", "b"]
    (tmp_path / "c.yaml").write_text("# the same\ndomain: a\n")
    with pytest.raises(RulesError, match=r"c\.yaml:2: domain 'a' is there twice, first in .*a\.yml"):
        rules_file.load(tmp_path)


def test_a_folder_may_be_empty_but_a_file_must_be_there(tmp_path: Path) -> None:
    assert not rules_file.load(tmp_path).by_name
    with pytest.raises(RulesError, match="cannot be read"):
        rules_file.load(tmp_path / "none.yaml")


def test_a_file_of_envoys_is_told_from_one_of_ours(tmp_path: Path) -> None:
    ours = tmp_path / "ours.yaml"
    ours.write_text("namespaces: {}\n")

    assert rules_file.is_domain(EXAMPLE)
    assert not rules_file.is_domain(ours)
    assert not rules_file.is_domain(tmp_path / "none.yaml")
