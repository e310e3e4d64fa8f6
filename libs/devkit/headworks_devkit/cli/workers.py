"""`headworks workers`: who works, and how."""

from __future__ import annotations

from typing import Annotated

import typer
from headworks_client import AdminClient, WorkerSnapshot, WorkerState
from rich.console import Console
from rich.table import Table

from headworks_devkit.cli import exits
from headworks_devkit.cli.calling import Json, ask_admin
from headworks_devkit.cli.output import print_json, span_text

app = typer.Typer(
    help="""See who works, on what, and who fell silent.

    ```
    headworks workers list
    ```
    """,
    epilog=exits.HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
STYLES = {WorkerState.ACTIVE: "green", WorkerState.DRAINING: "yellow", WorkerState.LOST: "bold red"}


@app.callback()
def workers() -> None:
    """A group, also with one command."""


@app.command("list")
def list_(
    context: typer.Context,
    queue: Annotated[str, typer.Option(help="Only workers of this queue.")] = "",
    live: Annotated[bool, typer.Option("--live", help="Leave out those that are gone or lost.")] = False,
    as_json: Json = False,
) -> None:
    """List workers, those that left within the last hour too.

    `held` is what a worker runs now, `silent` when a scheduler last heard of it.

    ```
    headworks workers list --live
    headworks workers list --queue images --json | jq 'select(.state == "LOST") | .worker'
    ```
    """

    async def main(client: AdminClient) -> int:
        found = await client.workers(queue, live_only=live)
        if as_json:
            for worker in found:
                print_json(worker)
        elif found:
            Console().print(_table(found))
        else:
            Console(stderr=True).print("no workers", style="dim")
        return exits.OK

    ask_admin(context, main)


def _table(found: list[WorkerSnapshot]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("worker", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("held", "slots", "succeeded", "failed", "given back", "silent"):
        table.add_column(column, justify="right")
    for column in ("queues", "tasks"):
        table.add_column(column, overflow="ellipsis", no_wrap=True)
    for worker in found:
        style = STYLES.get(worker.state, "dim")
        counts = (worker.held, worker.slots, worker.succeeded, worker.failed, worker.released)
        table.add_row(
            worker.worker,
            f"[{style}]{worker.state}[/{style}]",
            *(f"{count:,}" for count in counts),
            span_text(worker.silent_s),
            ", ".join(worker.queues),
            ", ".join(worker.tasks),
        )
    return table
