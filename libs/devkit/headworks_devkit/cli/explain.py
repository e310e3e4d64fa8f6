"""`headworks limits explain`: which rules a request meets, and why not the others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from headworks_limiter.domain.algorithms import Rate
from headworks_limiter.domain.bypass import Bypass, longest
from headworks_limiter.domain.costs import DEFAULT, cost_of
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.matching import mismatch
from headworks_limiter.domain.periods import Period
from headworks_limiter.domain.rates import short
from headworks_limiter.domain.rule import Override, Rule
from headworks_limiter.rules import Rules, RulesError, load
from rich.console import Console
from rich.table import Table

from headworks_devkit.cli import exits, parsing
from headworks_devkit.cli.output import print_json
from headworks_devkit.cli.targets import targets_of


def explain(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A rules file (YAML).")],
    namespace: Annotated[str, typer.Argument(help="The set of rules to apply.")],
    descriptors: Annotated[list[str], typer.Argument(help="What the request is, `key=value`.", metavar="KEY=VALUE...")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")] = False,
) -> None:
    """Say which rules of a file a request meets, which override holds for it, and why it does not meet the others.

    Exit code 3 if the file has no such namespace. `--tenant`, before the command, says on whose behalf.

    ```
    headworks limits explain rules.yaml api user=alice "endpoint=POST /x"
    headworks --tenant acme limits explain rules.yaml api user=alice plan=premium --json
    ```
    """
    wanted, tenant = parsing.pairs(descriptors), targets_of(context).tenant
    try:
        rules = load(file)
    except RulesError as error:
        raise typer.Exit(exits.fail(str(error))) from None
    if namespace not in rules.namespaces:
        known = ", ".join(sorted(rules.namespaces)) or "none"
        raise typer.Exit(exits.fail(f"{file} has no namespace {namespace}; it has {known}", exits.NOT_FOUND))
    records = explained(rules, namespace, tenant, wanted)
    permits = cost_of(rules.costs.get(namespace, ()), wanted)
    bypass = longest(rules.bypasses.get(namespace, ()), tenant, wanted)
    if as_json:
        for record in records:
            print_json(record | {"permits": permits, "bypass": None if bypass is None else bypass.name})
        return
    _show_extras(permits, bypass)
    table = Table("rule", "meets", "limit", "bucket", box=None, pad_edge=False)
    for record in records:
        meets = "[green]yes[/green]" if record["meets"] else f"[dim]no: {record['why']}[/dim]"
        notes = ["on trial"] * record["shadow"] + ["all tenants"] * (record["scope"] == "platform")
        note = f" ({', '.join(notes)})" if notes else ""
        table.add_row(record["rule"], meets, record["limit"] + note, ", ".join(record["bucket"]))
    Console().print(table)


def _show_extras(permits: int, bypass: Bypass | None) -> None:
    """What else the namespace says about the request."""
    if permits != DEFAULT:
        typer.echo(f"costs {permits:,} permits unless the caller says otherwise")
    if bypass is not None:
        now_s = datetime.now(UTC).timestamp()
        until = "" if bypass.until_s is None else f" until {datetime.fromtimestamp(bypass.until_s, UTC).isoformat()}"
        typer.echo(f"bypass {bypass.name}{until}: " + ("let through" if bypass.holds(now_s) else "has ended"))


def explained(rules: Rules, namespace: str, tenant: str, descriptors: dict[str, str]) -> list[dict[str, Any]]:
    """What every rule of the namespace has to say, in their order."""
    records = []
    for rule in rules.namespaces[namespace]:
        why = rule.mismatch(descriptors)
        if why:
            records.append(_record(rule, why, descriptors))
            continue
        override = next((each for each in rule.overrides if _holds(each, tenant, descriptors)), None)
        standing = rule.for_caller(tenant, descriptors)
        records += [_record(each, "", descriptors, override) for each in standing]
        if not standing:
            records.append(_record(rule, "an override stands for it", descriptors, override))
    return records


def _holds(override: Override, tenant: str, descriptors: dict[str, str]) -> bool:
    return override.tenant.fits(tenant) and not mismatch(override.match, descriptors)


def _record(rule: Rule, why: str, descriptors: dict[str, str], override: Override | None = None) -> dict[str, Any]:
    bucket = [f"{key}={pattern.named(descriptors[key])}" for key, pattern in rule.match] if not why else []
    return {
        "rule": rule.name,
        "meets": not why,
        "why": why,
        "limit": _limit(rule),
        "bucket": bucket,
        "shadow": rule.shadow,
        "scope": "platform" if rule.platform else "tenant",
        "override": None if override is None else _whom(override),
    }


def _whom(override: Override) -> dict[str, Any]:
    return {"tenant": override.tenant.text, "match": {key: pattern.text for key, pattern in override.match}}


def _limit(rule: Rule) -> str:
    params = rule.params
    if not isinstance(params, get_args(Rate)):
        return f"{params.capacity:,} {params.thresholds[0]}"
    period = params.period if isinstance(params, FixedWindow) else Period(us=params.period_us)
    burst = f", burst {params.capacity:,}" if params.capacity != params.limit else ""
    return f"{params.limit:,}/{short(period)} {params.thresholds[0]}{burst}"
