"""A namespace's part of a file, as it was written, is what SetRules takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from headworks_limiter import rules
from headworks_limiter.rule_text import text_of

FOLDER = Path(__file__).parents[3] / "examples" / "rules"
BLOCK = b"""
namespaces:
  other: {rules: []}
  api:
    # for people
    rules:
      - name: r
        match: {}
        limit: 1/day # few
    costs:
      - {match: {a: b}, permits: 2}
  last: {rules: [{name: r, match: {}, limit: 1/day}]}
"""


def test_it_has_its_comments_and_no_indentation() -> None:
    text = text_of(BLOCK, "api")
    lines = text.splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("rules:", "  - name: r", "  - {match: {a: b}, permits: 2}")
    assert "limit: 1/day # few" in text
    assert text_of(BLOCK, "last") == "{rules: [{name: r, match: {}, limit: 1/day}]}\n"
    assert text_of(BLOCK, "nowhere") == ""


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_example_comes_back_as_it_was(file: Path) -> None:
    content = file.read_bytes()
    whole = rules.parse(content, path="r")
    for namespace, limits in whole.namespaces.items():
        for text in (text_of(content, namespace).encode(), content):
            again = rules.parse_one(namespace, text, path="r")
            assert [(rule.id, rule.match, rule.params) for rule in again.namespaces[namespace]] == [
                (rule.id, rule.match, rule.params) for rule in limits
            ]
            assert again.costs == whole.costs
            assert again.bypasses == whole.bypasses


def test_a_file_about_others_is_a_mistake() -> None:
    with pytest.raises(rules.RulesError, match="must be about namespace 'api' alone, not 'other', 'last'"):
        rules.parse_one("api", BLOCK, path="r")
