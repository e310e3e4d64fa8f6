"""`headworks jobs`: submit, get, list, watch and cancel."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import typer
from headworks_client import JobFilter, JobSnapshot, JobState, Retry, SchedulerClient, Submission
from rich.console import Console
from rich.text import Text

from headworks_devkit.cli import exits, parsing
from headworks_devkit.cli.calling import Json, ask_scheduler
from headworks_devkit.cli.output import STATE_STYLES, job_record, job_text, print_json, progress_text
from headworks_devkit.cli.selecting import STATES, Category, ErrorClass, Lane, Queue, Task, chosen

app = typer.Typer(
    help="""Submit jobs and see what becomes of them.

    ```
    headworks jobs submit hello name=you --wait
    headworks jobs submit resize @request.json --queue images --level high --delay 10s
    headworks jobs get NAME
    headworks jobs list --queue images --state leased
    headworks jobs watch NAME NAME ...
    headworks jobs cancel NAME
    ```
    """,
    epilog=exits.HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

PAGE = 200
Names = Annotated[list[str], typer.Argument(help="Names of jobs, as `submit` prints them.", metavar="NAME...")]
Name = Annotated[str, typer.Argument(help="Name of the job, as `submit` prints it.")]
Limit = Annotated[int, typer.Option(help="So many at most; 0: all.", min=0)]


@app.command()
def submit(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="Name of the task that runs it.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="The task's arguments, `key=value`; a value may be JSON.")
    ] = None,
    payload: Annotated[str, typer.Option(help="The arguments as a JSON object, `@file`, or `-` for stdin.")] = "",
    queue: Annotated[str, typer.Option(help="The queue to put it in.")] = "default",
    level: Annotated[str, typer.Option(help="0 (most urgent) to 9, or critical, high, normal, low, bulk.")] = "normal",
    lane: Annotated[str, typer.Option(help="Jobs of one lane start in the order of their submission.")] = "",
    delay: Annotated[str, typer.Option(help="Wait this long first, e.g. 500ms, 10s, 5m.")] = "0s",
    expire_after: Annotated[str, typer.Option(help="Give it up if it has not begun by then.")] = "",
    timeout: Annotated[str, typer.Option(help="How long one attempt may run.")] = "",
    attempts: Annotated[int, typer.Option(help="Attempts in all; 0: what the queue says.", min=0, max=100)] = 0,
    request_id: Annotated[str, typer.Option(help="A UUID; submitting it again answers with the same job.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 1 unless it succeeds.")] = False,
    as_json: Json = False,
) -> None:
    """Submit one job; prints its name.

    ```
    headworks jobs submit hello name=you --wait
    headworks jobs submit nap seconds=3 --level high --lane alice
    echo '{"name": "you"}' | headworks jobs submit hello --payload - --json
    ```
    """
    submission = Submission(
        task=task,
        payload=parsing.payload(payload, arguments or []),
        level=parsing.level(level),
        lane=lane,
        delay_s=parsing.duration_s(delay),
        expire_after_s=parsing.duration_s(expire_after) if expire_after else None,
        attempt_timeout_s=parsing.duration_s(timeout) if timeout else None,
        retry=Retry(max_attempts=attempts) if attempts else None,
        request_id=request_id,
    )

    async def main(client: SchedulerClient) -> int:
        job = await client.submit(submission, queue=queue)
        if wait:
            return await _watch(client, [job.name], as_json=as_json, terminal_only=True)
        if as_json:
            print_json({"name": job.name})
        else:
            typer.echo(job.name)
        return exits.OK

    ask_scheduler(context, main)


@app.command()
def get(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a job as it is now.

    ```
    headworks jobs get tenants/default/queues/default/jobs/0-0198f2b4-...
    headworks jobs get NAME --json | jq .state
    ```
    """

    async def main(client: SchedulerClient) -> int:
        show_job(await client.get(name), as_json=as_json)
        return exits.OK

    ask_scheduler(context, main)


@app.command("list")
def list_(
    context: typer.Context,
    queue: Queue = "default",
    state: Annotated[str, typer.Option(help=f"Only jobs that are {', '.join(STATES[:-1])} or {STATES[-1]}.")] = "",
    task: Task = "",
    lane: Lane = None,
    category: Category = "",
    error: ErrorClass = "",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List the jobs of your tenant in a queue, without their payloads.

    ```
    headworks jobs list
    headworks jobs list --queue images --state leased --task resize
    headworks jobs list --limit 0 --json | jq -r 'select(.failures > 0) | .name'
    ```
    """
    list_jobs(context, queue, chosen(state, task, lane, category, error), limit, as_json=as_json)


def list_jobs(context: typer.Context, queue: str, where: JobFilter, limit: int, *, as_json: bool) -> None:
    """Print jobs as their pages come, a line each."""

    async def main(client: SchedulerClient) -> int:
        shown = 0
        async with aclosing(client.jobs(queue, where, page_size=min(limit, PAGE) or PAGE)) as jobs:
            async for job in jobs:
                if shown == limit and limit:
                    typer.secho(f"and more: --limit {limit * 10}, or 0 for all", err=True, dim=True)
                    break
                shown += 1
                if as_json:
                    print_json(job_record(job))
                else:
                    _line(job)
        if not shown and not as_json:
            typer.secho("no jobs", err=True, dim=True)
        return exits.OK

    ask_scheduler(context, main)


@app.command()
def watch(
    context: typer.Context,
    names: Names,
    final: Annotated[bool, typer.Option("--final", help="Only how they end.")] = False,
    as_json: Json = False,
) -> None:
    """Follow jobs until all have ended; exit code 1 unless all succeeded.

    ```
    headworks jobs watch NAME
    headworks jobs watch NAME NAME --final --json
    ```
    """

    async def main(client: SchedulerClient) -> int:
        await client.get(names[0])  # a watch outlives a scheduler that restarts; one that is not there is said at once
        return await _watch(client, names, as_json=as_json, terminal_only=final)

    ask_scheduler(context, main)


@app.command()
def cancel(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Cancel a job: at once if it waits, otherwise its worker is asked to stop.

    ```
    headworks jobs cancel NAME
    ```
    """

    async def main(client: SchedulerClient) -> int:
        show_job(await client.cancel(name), as_json=as_json)
        return exits.OK

    ask_scheduler(context, main)


async def _watch(client: SchedulerClient, names: list[str], *, as_json: bool, terminal_only: bool) -> int:
    ended: dict[str, JobState] = {}
    alone = len(set(names)) == 1
    async for job in client.watch(names, terminal_only=terminal_only):
        if job.state.terminal:
            ended[job.name] = job.state
        if as_json:
            print_json(job_record(job))
        elif alone and job.state.terminal:
            show_job(job, as_json=False)
        else:
            _line(job)
    return exits.OK if all(state is JobState.SUCCEEDED for state in ended.values()) else exits.FAILED


def show_job(job: JobSnapshot, *, as_json: bool) -> None:
    """Print one job in full."""
    if as_json:
        print_json(job_record(job))
    else:
        Console().print(job_text(job), soft_wrap=True, highlight=False)


def _line(job: JobSnapshot) -> None:
    style = STATE_STYLES.get(job.state, "bold")
    why = f"{job.failure.error_class}: {job.failure.message}" if job.failure and not job.result else ""
    said = progress_text(job) if job.state is JobState.LEASED else why
    line = Text.assemble((f"{job.state:<10} ", style), job.name, " ", said)
    Console().print(line, soft_wrap=True, highlight=False)
