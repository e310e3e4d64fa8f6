"""`headworks limits`: validate rules, check and consume permits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from headworks_client import Decision, LimiterAdminClient, LimiterClient
from headworks_limiter.envoy import rules_file
from headworks_limiter.rules import Mistake, RulesError, load
from rich.console import Console
from rich.table import Table

from headworks_devkit.cli import exits, explain, parsing, rules, simulate, top
from headworks_devkit.cli.output import (
    decision_record,
    decision_table,
    explanation_record,
    explanation_table,
    print_json,
)
from headworks_devkit.cli.targets import Targets, targets_of

app = typer.Typer(
    help="""Ask the limiter, and check its rules.

    ```
    headworks limits validate rules.yaml
    headworks limits explain rules.yaml api user=alice plan=premium
    headworks limits simulate rules.yaml api user=alice --rate 20/minute
    headworks limits inspect api user=alice
    headworks limits check api user=alice endpoint=/search
    headworks limits consume api user=alice --permits 5
    headworks limits set api rules.yaml
    headworks limits top
    ```
    """,
    epilog=exits.HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

app.command("list")(rules.list_)
app.command("get")(rules.get)
app.command("set")(rules.set_)
app.command("delete")(rules.delete)
app.command("reload")(rules.reload)
app.command("top")(top.top)
app.command("explain")(explain.explain)
app.command("simulate")(simulate.simulate)

Namespace = Annotated[str, typer.Argument(help="The set of rules to apply.")]
Descriptors = Annotated[list[str], typer.Argument(help="What the request is, `key=value`.", metavar="KEY=VALUE...")]
Permits = Annotated[int | None, typer.Option(help="How many; without it the cost table says, or 1.", min=1)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")]


@app.command()
def validate(
    file: Annotated[
        Path, typer.Argument(help="A rules file (YAML), ours or one of envoyproxy/ratelimit; or a folder of those.")
    ],
    as_json: Json = False,
) -> None:
    """Find every mistake in a rules file, with its line; exit code 1 if there is one.

    A file with a `domain` is read as one of envoyproxy/ratelimit, and so is a folder; domains are shown as namespaces.

    ```
    headworks limits validate rules.yaml
    ```
    """
    try:
        counts = _counts(file)
    except RulesError as error:
        _show_mistakes(file, error.mistakes, as_json=as_json)
        raise typer.Exit(exits.FAILED) from None
    if as_json:
        print_json({"file": str(file), "valid": True, "namespaces": counts, "mistakes": []})
        return
    table = Table("namespace", "rules", box=None, pad_edge=False)
    for name, count in counts.items():
        table.add_row(name, str(count))
    Console().print(table)


def _counts(file: Path) -> dict[str, int]:
    """Rules by namespace, or by domain. Raises RulesError."""
    if rules_file.is_domain(file):
        return {name: level.limits for name, level in rules_file.load(file).by_name.items()}
    return {name: len(found) for name, found in load(file).namespaces.items()}


def _show_mistakes(file: Path, mistakes: tuple[Mistake, ...], *, as_json: bool) -> None:
    if as_json:
        listed = [{"line": mistake.line, "message": mistake.message} for mistake in mistakes]
        print_json({"file": str(file), "valid": False, "namespaces": {}, "mistakes": listed})
        return
    for mistake in mistakes:
        typer.echo(str(mistake))
    exits.fail(f"{file} has {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}")


@app.command()
def check(
    context: typer.Context,
    namespace: Namespace,
    descriptors: Descriptors,
    permits: Permits = None,
    as_json: Json = False,
) -> None:
    """Say what `consume` would answer now, and take nothing; exit code 1 if it would be denied.

    ```
    headworks limits check hello user=you
    ```
    """
    targets, wanted = targets_of(context), parsing.pairs(descriptors)

    async def main() -> int:
        async with _client(targets) as client:
            return _show(await client.check(namespace, wanted, permits, detail_all=True), as_json=as_json)

    exits.execute(main, asking=_asking(targets))


@app.command()
def consume(
    context: typer.Context,
    namespace: Namespace,
    descriptors: Descriptors,
    permits: Permits = None,
    request_id: Annotated[str, typer.Option(help="A UUID; asking with it again consumes once.")] = "",
    as_json: Json = False,
) -> None:
    """Take permits from every matching rule or from none; exit code 1 if denied.

    ```
    headworks limits consume hello user=you
    headworks limits consume hello user=you --permits 5 --json
    ```
    """
    targets, wanted = targets_of(context), parsing.pairs(descriptors)

    async def main() -> int:
        async with _client(targets) as client:
            decision = await client.consume(namespace, wanted, permits, request_id=request_id or None, detail_all=True)
            return _show(decision, as_json=as_json)

    exits.execute(main, asking=_asking(targets))


@app.command()
def inspect(context: typer.Context, namespace: Namespace, descriptors: Descriptors, as_json: Json = False) -> None:
    """Say what every rule makes of a request and what its bucket holds, as the limiter knows it; changes nothing.

    ```
    headworks limits inspect api user=alice "endpoint=POST /x"
    ```
    """
    targets, wanted = targets_of(context), parsing.pairs(descriptors)

    async def main() -> int:
        async with LimiterAdminClient(targets.limiter, tenant=targets.tenant) as client:
            found = await client.inspect(namespace, wanted)
        if as_json:
            for rule in found.rules:
                print_json(explanation_record(rule) | {"permits": found.permits, "bypass": found.bypass or None})
            return exits.OK
        if found.permits != 1:
            typer.echo(f"costs {found.permits:,} permits unless the caller says otherwise")
        if found.bypass:
            typer.echo(f"bypass {found.bypass} lets it past all of these")
        Console().print(explanation_table(found.rules))
        return exits.OK

    exits.execute(main, asking=_asking(targets))


@app.command()
def reset(
    context: typer.Context,
    namespace: Namespace,
    descriptors: Descriptors,
    rule: Annotated[str, typer.Option(help="Only the bucket of this rule.")] = "",
    as_json: Json = False,
) -> None:
    """Make the buckets full again that a request is held against.

    ```
    headworks limits reset api user=alice
    headworks limits reset api user=alice --rule per-user
    ```
    """
    targets, wanted = targets_of(context), parsing.pairs(descriptors)

    async def main() -> int:
        async with _client(targets) as client:
            names = await client.reset(namespace, wanted, rule=rule)
        if as_json:
            print_json({"namespace": namespace, "rules": names})
        else:
            typer.echo(f"full again: {', '.join(names)}" if names else "the request meets no rule")
        return exits.OK

    exits.execute(main, asking=_asking(targets))


def _asking(targets: Targets) -> str:
    return f"the limiter at {targets.limiter}"


def _client(targets: Targets) -> LimiterClient:
    return LimiterClient(targets.limiter, tenant=targets.tenant)


def _show(decision: Decision, *, as_json: bool) -> int:
    code = exits.OK if decision.allowed else exits.FAILED
    if as_json:
        print_json(decision_record(decision))
        return code
    console = Console()
    if decision.allowed:
        console.print("[bold green]allowed[/bold green]" + (" (degraded)" if decision.degraded else ""))
    else:
        when = f", retry in {decision.retry_after_s:.3f} s" if decision.retry_after_s else ""
        console.print(f"[bold red]denied[/bold red]{when}" + (" (degraded)" if decision.degraded else ""))
    if decision.rules:
        console.print(decision_table(decision))
    elif not decision.degraded:
        console.print("no rule matches", style="dim")
    return code
