"""Which rule of envoyproxy/ratelimit a descriptor finds: worked-out examples of what its README describes."""

from __future__ import annotations

from pathlib import Path

import pytest
from headworks_limiter.envoy import rules_file
from headworks_limiter.envoy.limits import Domains, Level, Wildcard, counter_key
from headworks_limiter.envoy.windows import Unit

EXAMPLE = Path(__file__).parents[3] / "examples" / "envoy" / "rules.yaml"
RULES = """
domain: d
descriptors:
  - key: user                              # any user
    rate_limit: {unit: second, requests_per_unit: 1}
  - {key: user, value: ann, rate_limit: {unit: second, requests_per_unit: 2}}
  - {key: user, value: a*, rate_limit: {unit: second, requests_per_unit: 3}}
  - {key: user, value: ab*, rate_limit: {unit: second, requests_per_unit: 4}}
  - {key: path, value: /files/*, share_threshold: true, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: path, value: /v*/users/*, rate_limit: {unit: second, requests_per_unit: 6}}
  - key: to
    descriptors:
      - {key: from, rate_limit: {unit: day, requests_per_unit: 7}}
  - key: message
    rate_limit: {unit: day, requests_per_unit: 8}
    descriptors:
      - {key: to, rate_limit: {unit: day, requests_per_unit: 9}}
  - key: route
    value: "*"
    share_threshold: true
    descriptors:
      - {key: method, value: GET, rate_limit: {unit: day, requests_per_unit: 10}}
      - {key: method, value: P*, rate_limit: {unit: day, requests_per_unit: 11}}
  - key: blocked
    value: ""
    rate_limit: {unit: day, requests_per_unit: 0}
"""


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Domains:
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(RULES)
    return rules_file.load(file)


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("user=bob", 1),
        ("user=", 1),
        ("user=ann", 2),  # the exact value goes before wildcards
        ("user=anna", 3),
        ("user=a", 3),  # * stands for nothing, too
        ("user=abe", 3),  # the first wildcard of the file, not the longest
        ("path=/files/x", 5),
        ("path=/v2/users/7", 6),
        ("path=/v2/user/7", None),
        ("path=/v2", None),
        ("to=bob from=ann", 7),
        ("to=bob", None),  # less deep than the rule
        ("from=ann to=bob", None),  # another order
        ("message=m", 8),
        ("message=m to=bob", 9),
        ("message=m from=bob", None),
        ("message=m to=bob from=ann", None),  # deeper than the rule
        ("user=bob x=y", None),
        ("route=/a method=GET", 10),
        ("route=/b method=PUT", 11),  # wildcards at any level
        ("route=/b method=DELETE", None),
        ("blocked=x", 0),
        ("other=x", None),
    ],
)
def test_a_descriptor_finds_its_rule(domains: Domains, said: str, limit: int | None) -> None:
    entries = [(key, value) for key, _, value in (pair.partition("=") for pair in said.split())]

    found = domains.find("d", entries)

    assert (None if found is None else found.limit.requests_per_unit) == limit


def test_each_value_counts_by_itself_unless_the_rule_shares_its_threshold(domains: Domains) -> None:
    def counted(*entries: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        found = domains.find("d", entries)
        assert found is not None
        return found.entries

    assert counted(("user", "anna")) == (("user", "anna"),)
    assert counted(("path", "/files/a")) == counted(("path", "/files/b")) == (("path", "/files/*"),)
    assert counted(("route", "/a"), ("method", "POST")) == (("route", "*"), ("method", "POST"))


@pytest.mark.parametrize(
    ("pattern", "fits", "fails"),
    [
        ("a*", ["a", "ab"], ["", "ba"]),
        ("*a", ["a", "ba"], ["ab"]),
        ("a*a", ["aa", "aba"], ["a", "ab"]),
        ("a*b*c", ["abc", "axbyc", "abbc"], ["acb", "ac", "abcd"]),
        ("*", ["", "x"], []),
        ("*ab*ab*", ["abab", "xabyabz"], ["ab", "aab"]),
    ],
)
def test_a_star_stands_for_any_text(pattern: str, fits: list[str], fails: list[str]) -> None:
    assert [text for text in fits + fails if Wildcard(pattern).fits(text)] == fits


def test_no_two_counters_look_alike() -> None:
    keys = {
        counter_key("{hw:0}", "t", domain, unit, entries)
        for domain in ("d", "d2")
        for unit in (Unit.MINUTE, Unit.HOUR)
        for entries in ([("a_b", "c")], [("a", "b_c")], [("a", "b"), ("c", "")], [("a", ""), ("b", "c")], [])
    }

    assert len(keys) == 20
    assert all(key.startswith("{hw:0}:lim:t:envoy/") for key in keys)


def test_rules_of_a_level_are_found_in_the_files_order() -> None:
    level = Level()
    for text in ("k_b*", "k_*"):
        level.add(text, Level())

    assert level.step("k", "bc")[0] is level.below["k_b*"]
    assert level.step("k", "c")[0] is level.below["k_*"]


def test_the_examples_file_is_what_it_says() -> None:
    domains = rules_file.load(EXAMPLE)

    def limit(*entries: tuple[str, str]) -> tuple[int, Unit | None]:
        found = domains.find("api", entries)
        assert found is not None
        return found.limit.requests_per_unit, found.limit.unit

    assert limit(("user", "ann")) == (5, Unit.DAY)
    assert limit(("user", "paying-7")) == (100, Unit.DAY)
    assert limit(("user", "house")) == (0, None)
    assert limit(("route", "search"), ("user", "ann")) == (2, Unit.DAY)
