"""Arguments as people write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from headworks_devkit.cli.parsing import duration_s, level, pairs, payload


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("10s", 10), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("7", 7)]
)
def test_a_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "10 parsecs"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no duration"):
        duration_s(text)


def test_a_level_has_a_name_or_a_number() -> None:
    assert [level(text) for text in ("0", "9", "high", "BULK")] == [0, 9, 2, 9]
    with pytest.raises(typer.BadParameter, match="write 0 \\(most urgent\\) to 9"):
        level("10")


def test_a_value_may_contain_an_equals_sign() -> None:
    assert pairs(["query=a=b", "empty="]) == {"query": "a=b", "empty": ""}


def test_arguments_are_json_where_they_can_be_and_text_elsewhere() -> None:
    assert json.loads(payload("", ["count=3", "on=true", "name=you", "tags=[1]"])) == {
        "count": 3,
        "on": True,
        "name": "you",
        "tags": [1],
    }


def test_arguments_override_a_payload_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"name": "file", "count": 1}')
    assert json.loads(payload(f"@{file}", ["name=line"])) == {"name": "line", "count": 1}


def test_no_arguments_are_no_bytes() -> None:
    assert payload("", []) == b""
