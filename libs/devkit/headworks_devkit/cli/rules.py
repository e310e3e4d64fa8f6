"""`headworks limits list|get|set|delete|reload`: the rules that limiters use, and changing them while they run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from headworks_client import LimiterAdminClient
from headworks_client.rules import NamespaceRules, RuleMistake, RuleVersion
from headworks_core.errors import InvalidArgument, Reason
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headworks_devkit.cli import exits
from headworks_devkit.cli.calling import Json
from headworks_devkit.cli.output import print_json
from headworks_devkit.cli.targets import targets_of

Namespace = Annotated[str, typer.Argument(help="The set of rules.")]
Expect = Annotated[int | None, typer.Option("--expect", help="Only if this is the latest version, 0 for none.", min=0)]
Comment = Annotated[str, typer.Option(help="Why; for the history.")]


def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the namespaces in use: whether their rules come from the file or the API, and who changed them last.

    ```
    headworks limits list
    ```
    """

    async def main(client: LimiterAdminClient) -> int:
        namespaces = await client.list_rules()
        if as_json:
            for each in namespaces:
                print_json(each)
        else:
            Console().print(_table(namespaces))
        return exits.OK

    _ask(context, main)


def get(
    context: typer.Context,
    namespace: Namespace,
    version: Annotated[int, typer.Option(help="An earlier version instead; 0: what is in use.", min=0)] = 0,
    history: Annotated[bool, typer.Option("--history", help="The versions that are kept, not the text.")] = False,
    as_json: Json = False,
) -> None:
    """Print the rules of a namespace as YAML, fit for `limits set`; or the history of their changes.

    ```
    headworks limits get api > api.yaml
    headworks limits get api --history
    headworks limits get api --version 3
    ```
    """

    async def main(client: LimiterAdminClient) -> int:
        found = await client.get_rules(namespace, version)
        if as_json:
            print_json(found)
        elif history:
            Console().print(_history(found.history))
        else:
            typer.echo(found.text, nl=False)
        return exits.OK

    _ask(context, main)


def set_(
    context: typer.Context,
    namespace: Namespace,
    file: Annotated[
        Path | None, typer.Argument(help="YAML, as of `limits get`; or a rules file about it alone.")
    ] = None,
    restore: Annotated[int, typer.Option(help="Instead of a file: this earlier version again.", min=0)] = 0,
    expect: Expect = None,
    comment: Comment = "",
    as_json: Json = False,
) -> None:
    """Put the rules of a namespace, in place of the file's, on all limiters within a second.

    With mistakes nothing changes; all are shown with their lines, and the exit code is 1.

    ```
    headworks limits set api api.yaml --comment "more for premium"
    headworks limits set api api.yaml --expect 3
    headworks limits set api --restore 2
    ```
    """
    if (file is None) == (restore == 0):
        raise exits.misused("say either a file or --restore")
    try:
        text = "" if file is None else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise exits.misused(f"{file} cannot be read: {error}") from error

    async def main(client: LimiterAdminClient) -> int:
        try:
            version = await client.set_rules(
                namespace, text, restore_version=restore, expected_version=expect, comment=comment
            )
        except InvalidArgument as error:
            if error.reason is not Reason.RULES_INVALID or file is None:
                raise
            return _refused(str(file), await client.validate_rules(namespace, text))
        return _changed(namespace, version, as_json=as_json)

    _ask(context, main)


def delete(
    context: typer.Context, namespace: Namespace, expect: Expect = None, comment: Comment = "", as_json: Json = False
) -> None:
    """Take back what `limits set` has put: the file's rules hold again, if it has some. The history stays.

    ```
    headworks limits delete api
    ```
    """

    async def main(client: LimiterAdminClient) -> int:
        version = await client.delete_rules(namespace, expected_version=expect, comment=comment)
        return _changed(namespace, version, as_json=as_json)

    _ask(context, main)


def reload(context: typer.Context, as_json: Json = False) -> None:
    """Make the limiter read its rules file now; exit code 1 if that has mistakes. One replica answers.

    ```
    headworks limits reload
    ```
    """

    async def main(client: LimiterAdminClient) -> int:
        mistakes = await client.reload_rules()
        if as_json:
            print_json({"valid": not mistakes, "mistakes": mistakes})
            return exits.FAILED if mistakes else exits.OK
        return _refused("the rules file", mistakes) if mistakes else exits.OK

    _ask(context, main)


def _ask(context: typer.Context, main: Callable[[LimiterAdminClient], Awaitable[int]]) -> NoReturn:
    targets = targets_of(context)

    async def run() -> int:
        async with LimiterAdminClient(targets.limiter, tenant=targets.tenant) as client:
            return await main(client)

    exits.execute(run, asking=f"the limiter at {targets.limiter}")


def _changed(namespace: str, version: int, *, as_json: bool) -> int:
    if as_json:
        print_json({"namespace": namespace, "version": version})
    else:
        typer.echo(f"{namespace} is version {version}")
    return exits.OK


def _refused(what: str, mistakes: Sequence[RuleMistake]) -> int:
    for mistake in mistakes:
        typer.echo(f"{what}:{mistake.line}: {mistake.message}")
    return exits.fail(f"{what} has {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}; nothing has changed")


def _table(namespaces: Sequence[NamespaceRules]) -> Table:
    table = Table("namespace", "from", "version", "rules", "changed", "by", "comment", box=None, pad_edge=False)
    for each in namespaces:
        source = each.source.lower() + (" (the file's are not in use)" if each.file_overridden else "")
        changed = ("", "", "", "") if each.version is None else _row(each.version)
        note = Text(f"{each.fault} " if each.fault else "", style="bold red").append(changed[3], style="default")
        table.add_row(each.namespace, source, changed[0], f"{each.rules:,}", changed[1], Text(changed[2]), note)
    return table


def _history(versions: Sequence[RuleVersion]) -> Table:
    table = Table("version", "changed", "by", "comment", box=None, pad_edge=False)
    for each in versions:
        version, changed, author, comment = _row(each)
        table.add_row(version, changed, Text(author), Text(comment))
    return table


def _row(version: RuleVersion) -> tuple[str, str, str, str]:
    at = version.create_time.astimezone().isoformat(sep=" ", timespec="seconds")
    return str(version.version), at, version.author, version.comment + (" (deleted)" if version.deleted else "")
