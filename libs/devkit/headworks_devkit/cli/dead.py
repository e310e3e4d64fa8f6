"""`headworks dead`: dead letters, and the way back."""

from __future__ import annotations

from typing import Annotated

import typer
from headworks_client import JobFilter, JobSnapshot, SchedulerClient
from headworks_core.errors import ServiceError, Unavailable
from rich.console import Console

from headworks_devkit.cli import exits
from headworks_devkit.cli.calling import Json, ask_scheduler
from headworks_devkit.cli.jobs import Limit, list_jobs, show_job
from headworks_devkit.cli.output import print_json
from headworks_devkit.cli.selecting import Category, ErrorClass, Lane, Queue, Task, chosen

app = typer.Typer(
    help="""Dead letters: jobs that failed for good. Look at them, and send them back when the cause is gone.

    ```
    headworks dead list --queue images
    headworks dead show NAME
    headworks dead redrive NAME NAME ...
    headworks dead redrive --queue images --task resize --all
    ```
    """,
    epilog=exits.HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command("list")
def list_(
    context: typer.Context,
    queue: Queue = "default",
    task: Task = "",
    lane: Lane = None,
    category: Category = "",
    error: ErrorClass = "",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List dead letters of your tenant with what they died of.

    ```
    headworks dead list
    headworks dead list --queue images --category timeout --limit 0 --json | jq -r .name
    ```
    """
    list_jobs(context, queue, chosen("dead", task, lane, category, error), limit, as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the job, as `dead list` prints it.")],
    as_json: Json = False,
) -> None:
    """Show a dead letter in full, with the trace of its last failure.

    ```
    headworks dead show NAME
    ```
    """

    async def main(client: SchedulerClient) -> int:
        job = await client.get(name)
        show_job(job, as_json=as_json)
        if not as_json and job.failure and job.failure.trace:
            Console().print(job.failure.trace.rstrip(), style="dim", soft_wrap=True, highlight=False, markup=False)
        return exits.OK

    ask_scheduler(context, main)


@app.command()
def redrive(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of dead or cancelled jobs.", metavar="[NAME...]")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters of the queue that the options fit.")] = False,
    queue: Queue = "default",
    task: Task = "",
    lane: Lane = None,
    category: Category = "",
    error: ErrorClass = "",
    limit: Annotated[int, typer.Option(help="With --all: so many at most; 0: all of them.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Send dead letters back: ready again at once, as a new generation, their attempts counted from 0.

    Either jobs by name, or with --all those that died first, first. Exit code 1 if any of the named could not be sent.

    ```
    headworks dead redrive NAME NAME
    headworks dead redrive --all --queue images --error TimeoutError --limit 1000
    ```
    """
    if bool(names) == every:
        raise exits.misused("give either names of jobs or --all")
    where = chosen("", task, lane, category, error)
    if names and where != JobFilter():
        raise exits.misused("--task, --lane, --category and --error choose among all; give them with --all")

    async def main(client: SchedulerClient) -> int:
        if names:
            return await _redrive(client, names, as_json=as_json)
        sent = 0
        progress = Console(stderr=True, highlight=False)
        with progress.status("redriving") as status:
            async for some in client.redrive_dead(queue, where, limit=limit or None):
                sent += len(some)
                status.update(f"{sent:,} sent back")
                for name in some if as_json else ():
                    print_json({"name": name})
        progress.print(f"{sent:,} sent back")
        return exits.OK

    ask_scheduler(context, main)


async def _redrive(client: SchedulerClient, names: list[str], *, as_json: bool) -> int:
    """One by one; what cannot be sent back is said, and the rest goes on."""
    code = exits.OK
    for name in dict.fromkeys(names):
        try:
            job: JobSnapshot = await client.redrive(name)
        except Unavailable:
            raise
        except ServiceError as error:
            code = exits.fail(f"{name}: {error.message} [{error.reason}]")
            continue
        if as_json:
            print_json({"name": job.name, "generation": job.generation})
        else:
            typer.echo(f"{job.name} is {job.state}, generation {job.generation}")
    return code
