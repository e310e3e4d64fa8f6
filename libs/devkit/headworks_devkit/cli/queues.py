"""`headworks queues`: what waits, what runs, what died."""

from __future__ import annotations

from typing import Annotated

import typer
from headworks_client import AdminClient, QueueSnapshot
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headworks_devkit.cli import exits
from headworks_devkit.cli.calling import Json, ask_admin
from headworks_devkit.cli.output import facts_text, print_json, span_text

app = typer.Typer(
    help="""See what waits in the queues, what runs and what died.

    ```
    headworks queues list
    headworks queues show images
    ```
    """,
    epilog=exits.HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List all queues with their counts, over all tenants.

    ```
    headworks queues list
    headworks queues list --json | jq 'select(.dead > 0) | .queue'
    ```
    """

    async def main(client: AdminClient) -> int:
        queues = await client.queues()
        if as_json:
            for queue in queues:
                print_json(queue)
        else:
            Console().print(_table(queues))
        return exits.OK

    ask_admin(context, main)


@app.command()
def show(
    context: typer.Context,
    queue: Annotated[str, typer.Argument(help="The queue's id.")],
    as_json: Json = False,
) -> None:
    """Show one queue: its counts, its levels, its settings and your tenant's share.

    ```
    headworks queues show default
    headworks queues show default --json | jq .oldest_ready_s
    ```
    """

    async def main(client: AdminClient) -> int:
        found = await client.queue(queue)
        if as_json:
            print_json(found)
        else:
            Console().print(_text(found), soft_wrap=True, highlight=False)
        return exits.OK

    ask_admin(context, main)


def _table(queues: list[QueueSnapshot]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("queue")
    for column in ("ready", "scheduled", "leased", "dead", "oldest ready", "tenants"):
        table.add_column(column, justify="right")
    for queue in queues:
        dead = f"[bold red]{queue.dead:,}[/bold red]" if queue.dead else "0"
        counts = (f"{queue.ready:,}", f"{queue.scheduled:,}", f"{queue.leased:,}", dead)
        table.add_row(queue.queue, *counts, span_text(queue.oldest_ready_s), f"{queue.tenants:,}")
    return table


def _text(queue: QueueSnapshot) -> Text:
    levels = ", ".join(f"{ready:,} at {level}" for level, ready in queue.ready_by_level.items())
    facts = [
        ("queue", queue.queue),
        ("ready", f"{queue.ready:,}" + (f" ({levels})" if levels else "")),
        ("scheduled", f"{queue.scheduled:,}"),
        ("leased", f"{queue.leased:,}"),
        ("dead", f"{queue.dead:,}"),
        ("oldest ready", span_text(queue.oldest_ready_s)),
        (
            "tenants",
            f"{queue.tenants:,} with ready jobs; yours has {queue.own_waiting:,} waiting, {queue.own_dead:,} dead",
        ),
        ("replicas", f"{queue.waiting_replicas:,} wait for work"),
        ("room", f"{queue.max_size:,} waiting jobs, {queue.max_size_per_tenant:,} of one tenant"),
        ("attempts", f"{queue.max_attempts:,}, each {span_text(queue.attempt_timeout_s) or 'without a limit'}"),
        ("kept", f"{span_text(queue.retention_s)} after the end"),
    ]
    return facts_text([(label, Text(value)) for label, value in facts])
