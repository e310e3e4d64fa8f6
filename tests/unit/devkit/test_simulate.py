"""`headworks limits simulate`: rates, traces, pictures, and what it says of bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from headworks_devkit.cli.app import app
from headworks_devkit.simulation.pictures import Column, bars, columns
from typer.testing import CliRunner

RULES = str(Path(__file__).parents[3] / "examples" / "rules" / "defaults.yaml")


def simulate(*words: str) -> Any:
    """What the command did."""
    return CliRunner().invoke(app, ["limits", "simulate", *words])


def found(*words: str) -> dict[str, Any]:
    """What it found out."""
    done = simulate(*words, "--json")
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def said(done: Any) -> str:
    """Its output without boxes and line breaks."""
    return " ".join(done.output.replace("│", " ").split())


def test_a_rate() -> None:
    assert found(RULES, "default", "user=ann", "--rate", "20/minute", "--for", "2h") == {
        "allowed": 2_400,
        "refused": 0,
        "permits": 2_400,
        "waited": 0,
        "longest_wait_s": 0.0,
        "unlimited": 0,
        "let_through": 0,
        "refused_by": {},
        "errors": {},
        "first_refusal": None,
        "buckets": 1,
    }
    one = found(RULES, "default", "ip=::1", "--rate", "1 per 2s", "--for", "1m", "--permits", "10")
    assert (one["allowed"], one["permits"], one["refused_by"]) == (19, 190, {"per-ip": 11})
    assert one["first_refusal"] == "2026-01-05 00:00:28"


def test_random_times_are_those_of_the_seed() -> None:
    words = (RULES, "default", "ip=::1", "--rate", "5/s", "--for", "5m", "--seed", "7")
    assert found(*words) == found(*words)
    assert found(*words)["allowed"] + found(*words)["refused"] == pytest.approx(1_500, rel=0.15)


def test_a_trace_in_either_form(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"time": "2026-01-05T10:00:01", "user": "ann", "permits": 600},
        {"time": "2026-01-05T10:00:00Z", "user": "ann", "permits": "600"},
        {"time": 1_767_607_202.5, "user": "bob", "tenant": "acme", "project": ""},
        {"time": 1_767_607_203, "nobody": "x"},
        {"time": 1_767_607_203, "user": "ann", "permits": 1_001},
        {"time": 1_767_607_203, "user": "ann", "namespace": "nowhere"},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    columns_of = ["time", "user", "permits", "tenant", "project", "nobody", "namespace"]
    rows = [",".join(str(line.get(name, "")) for name in columns_of) for line in lines]
    (tmp_path / "t.csv").write_text("\n".join([",".join(columns_of), *rows]) + "\n")

    for name in ("t.jsonl", "t.csv"):
        told = found(RULES, "default", "--trace", str(tmp_path / name))
        assert (told["allowed"], told["refused"], told["unlimited"], told["buckets"]) == (3, 1, 1, 2)
        assert told["first_refusal"] == "2026-01-05 10:00:01"  # sorted by time
        assert sorted(told["errors"].values()) == [1, 1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"user": "a"}', "line 1: 'time' is missing"),
        ('\n{"time": "noon"}', "line 2: Invalid isoformat string: 'noon'"),
        ('{"time": 1, "permits": "two"}', "line 1: invalid literal for int()"),
        ("[1]", "line 1: not a JSON object"),
        ("{", "line 1: not JSON"),
    ],
)
def test_a_bad_trace_is_refused_with_its_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "t.jsonl").write_text(content)
    done = simulate(RULES, "default", "--trace", str(tmp_path / "t.jsonl"))
    assert done.exit_code == 2
    assert words in said(done)


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ((RULES, "default", "user=a"), 2, "say either --rate or --trace"),
        ((RULES, "default", "user", "--rate", "1/s"), 2, "'user' is not key=value"),
        ((RULES, "default", "user=a", "--rate", "fast"), 2, "'fast' is no rate; write so many per period"),
        ((RULES, "default", "user=a", "--rate", "1000/s", "--for", "10d"), 2, "more than 5,000,000 requests"),
        ((RULES, "default", "user=a", "--rate", "1/s", "--start", "noon"), 2, "'noon' is no time"),
        ((RULES, "default", "--trace", "nowhere.jsonl"), 2, "No such file"),
        (("nowhere.yaml", "default", "user=a", "--rate", "1/s"), 1, "nowhere.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_simulated_is_said(words: tuple[str, ...], code: int, expected: str) -> None:
    done = simulate(*words)
    assert (done.exit_code, expected in said(done)) == (code, True), done.output


def test_the_terminal_shows_when_and_which_rule() -> None:
    done = simulate(RULES, "default", "ip=::1", "--rate", "5/s", "--for", "10m")
    assert "1,099 allowed (36.6%), 1,901 refused" in done.output
    assert "per-ip" in done.output
    assert "2026-01-05 00:00:00 to 2026-01-05 00:09:59 UTC" in done.output


def test_a_picture_is_svg_with_all_requests_in_it(tmp_path: Path) -> None:
    file = tmp_path / "p.svg"
    simulate(RULES, "default", "ip=::1", "--rate", "5/s", "--for", "10m", "--svg", str(file))
    root = ElementTree.fromstring(file.read_text())
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"1,099 allowed", "1,901 refused", "defaults.yaml: default"} <= set(texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) > 100


def test_columns_hold_every_request_once() -> None:
    times = [(at * 10, at % 3 == 0) for at in range(100)]
    found_columns = columns(times, 7)
    assert sum(sum(column) for column in found_columns) == 100
    assert len(found_columns) == 7
    assert columns([(5, True)], 10) == [Column(1, 0)]
    assert columns([], 10) == []
    assert bars([0, 1, 100], 100) == " ▁█"
