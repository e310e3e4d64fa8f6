"""`headworks jobs`: submit, get, watch and cancel."""

from __future__ import annotations

from typing import Annotated

import typer
from headworks_client import JobSnapshot, JobState, Retry, SchedulerClient, Submission
from rich.console import Console
from rich.text import Text

from headworks_devkit.cli import exits, parsing
from headworks_devkit.cli.output import STATE_STYLES, job_record, job_text, print_json, progress_text
from headworks_devkit.cli.targets import Targets, targets_of

app = typer.Typer(
    help="""Submit jobs and see what becomes of them.

    ```
    headworks jobs submit hello name=you --wait
    headworks jobs submit resize @request.json --queue images --level high --delay 10s
    headworks jobs get NAME
    headworks jobs watch NAME NAME ...
    headworks jobs cancel NAME
    ```
    """,
    epilog=exits.HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Names = Annotated[list[str], typer.Argument(help="Names of jobs, as `submit` prints them.", metavar="NAME...")]
Name = Annotated[str, typer.Argument(help="Name of the job, as `submit` prints it.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")]


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
    targets = targets_of(context)
    exits.execute(lambda: _submit(targets, submission, queue, wait=wait, as_json=as_json), asking=_asking(targets))


async def _submit(targets: Targets, submission: Submission, queue: str, *, wait: bool, as_json: bool) -> int:
    async with SchedulerClient(targets.scheduler, tenant=targets.tenant) as client:
        job = await client.submit(submission, queue=queue)
        if wait:
            return await _watch(client, [job.name], as_json=as_json, terminal_only=True)
    if as_json:
        print_json({"name": job.name})
    else:
        typer.echo(job.name)
    return exits.OK


@app.command()
def get(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a job as it is now.

    ```
    headworks jobs get tenants/default/queues/default/jobs/0-0198f2b4-...
    headworks jobs get NAME --json | jq .state
    ```
    """
    targets = targets_of(context)

    async def main() -> int:
        async with SchedulerClient(targets.scheduler, tenant=targets.tenant) as client:
            show(await client.get(name), as_json=as_json)
        return exits.OK

    exits.execute(main, asking=_asking(targets))


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
    targets = targets_of(context)

    async def main() -> int:
        async with SchedulerClient(targets.scheduler, tenant=targets.tenant) as client:
            return await _watch(client, names, as_json=as_json, terminal_only=final)

    exits.execute(main, asking=_asking(targets))


@app.command()
def cancel(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Cancel a job: at once if it waits, otherwise its worker is asked to stop.

    ```
    headworks jobs cancel NAME
    ```
    """
    targets = targets_of(context)

    async def main() -> int:
        async with SchedulerClient(targets.scheduler, tenant=targets.tenant) as client:
            show(await client.cancel(name), as_json=as_json)
        return exits.OK

    exits.execute(main, asking=_asking(targets))


def _asking(targets: Targets) -> str:
    return f"the scheduler at {targets.scheduler}"


async def _watch(client: SchedulerClient, names: list[str], *, as_json: bool, terminal_only: bool) -> int:
    ended: dict[str, JobState] = {}
    alone = len(set(names)) == 1
    async for job in client.watch(names, terminal_only=terminal_only):
        if job.state.terminal:
            ended[job.name] = job.state
        if as_json:
            print_json(job_record(job))
        elif alone and job.state.terminal:
            show(job, as_json=False)
        else:
            _line(job)
    return exits.OK if all(state is JobState.SUCCEEDED for state in ended.values()) else exits.FAILED


def show(job: JobSnapshot, *, as_json: bool) -> None:
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
