"""`headworks limits explain`: which rules, which override, and why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headworks_devkit.cli.app import app
from typer.testing import CliRunner

FOLDER = Path(__file__).parents[3] / "examples" / "rules"


def explain(*words: str, tenant: str = "default") -> Any:
    """What the command did."""
    return CliRunner().invoke(app, ["--tenant", tenant, "limits", "explain", *words])


def records(*words: str) -> list[dict[str, Any]]:
    """What it found."""
    done = explain(*words, "--json")
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_rule_says_whether_it_is_met_and_why_not() -> None:
    api = str(FOLDER / "http-api.yaml")
    found = records(api, "api", "caller=ann", "tier=premium", "route=POST /api/wallets/7/refresh-balance")
    assert [(each["rule"], each["meets"], each["why"]) for each in found] == [
        ("analyses", False, "route is not POST /api/analysis/**"),
        ("reads", False, "route is not GET /api/**"),
        ("refreshes.1m", True, ""),
        ("refreshes.1h", True, ""),
    ]
    assert found[2]["bucket"] == ["caller=ann", "route=POST /api/wallets/*/refresh-balance"]
    assert found[2]["limit"] == "2/1m sliding_window_counter"
    (first, *_) = records(api, "api", "route=POST /api/analysis/x")
    assert first["why"] == "caller is missing"


def test_an_override_that_holds_is_named() -> None:
    api = str(FOLDER / "http-api.yaml")
    reads = records(api, "api", "caller=ann", "tier=premium", "route=GET /api/x")[1]
    assert (reads["limit"], reads["override"]) == (
        "5,000/1h gcra, burst 500",
        {"tenant": "*", "match": {"tier": "premium"}},
    )
    project = records(str(FOLDER / "platform.yaml"), "platform", "project=internal-7")[2]
    assert (project["meets"], project["why"]) == (False, "an override stands for it")
    assert project["override"]["match"] == {"project": "internal-*"}


def test_people_read_a_table_and_an_unknown_namespace_is_not_found() -> None:
    done = explain(str(FOLDER / "defaults.yaml"), "default", "user=ann")
    assert (done.exit_code, "no: ip is missing" in done.output) == (0, True)
    missing = explain(str(FOLDER / "defaults.yaml"), "nowhere", "user=ann")
    assert missing.exit_code == 3
    assert "has no namespace nowhere; it has default" in " ".join(missing.output.split())


def test_what_all_tenants_share_is_said(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    rule = "name: all, match: {}, limit: 5/hour, scope: platform, shadow: true"
    file.write_text(f"namespaces: {{api: {{rules: [{{{rule}}}, {{name: own, match: {{}}, limit: 5/hour}}]}}}}")
    assert [each["scope"] for each in records(str(file), "api", "user=ann")] == ["platform", "tenant"]
    assert "(on trial, all tenants)" in explain(str(file), "api", "user=ann").output
