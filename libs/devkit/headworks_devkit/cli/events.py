"""`headworks events`: hear what ended."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer
from headworks_client.events import Event, EventReader
from rich.console import Console
from rich.text import Text

from headworks_devkit.cli import exits
from headworks_devkit.cli.output import print_json
from headworks_devkit.cli.targets import Targets, targets_of

app = typer.Typer(
    help="""Hear what becomes of jobs, as every subscriber does: from Kafka.

    ```
    headworks events tail
    headworks events tail --from-beginning --json | jq .job
    ```
    """,
    epilog=exits.HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

STYLES = {"succeeded": "green", "dead": "bold red", "cancelled": "yellow", "retrying": "cyan"}


@app.callback()
def events() -> None:
    """A group, also with one command."""


@app.command()
def tail(
    context: typer.Context,
    topic: Annotated[str, typer.Option(help="The topic to read.")] = "headworks.jobs.v1",
    group: Annotated[str, typer.Option(help="A consumer group to continue; by default a new one.")] = "",
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with what is there.")] = False,
    job: Annotated[str, typer.Option(help="Only events of this job.")] = "",
    count: Annotated[int, typer.Option(help="Stop after so many; 0: until Ctrl-C.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")] = False,
) -> None:
    """Print events as they come.

    ```
    headworks events tail
    headworks events tail --from-beginning --count 10 --json
    ```
    """
    targets = targets_of(context)
    reader = EventReader(
        targets.kafka, topic=topic, group=group or f"headworks-tail-{uuid.uuid4()}", from_beginning=from_beginning
    )
    exits.execute(lambda: _tail(reader, job, count, as_json=as_json), asking=_asking(targets))


def _asking(targets: Targets) -> str:
    return f"Kafka at {targets.kafka}"


async def _tail(opened: EventReader, job: str, count: int, *, as_json: bool) -> int:
    printed = 0
    async with opened as reader:
        async for event in reader:
            if job and event.subject != job:
                continue
            if as_json:
                print_json(event_record(event))
            else:
                Console().print(event_text(event), soft_wrap=True, highlight=False)
            printed += 1
            if printed == count:
                break
    return exits.OK


def event_record(event: Event) -> dict[str, Any]:
    """An event for scripts. Fields are added, never renamed."""
    data = event.data
    failure = None
    if data.HasField("failure"):
        failure = {"error_class": data.failure.error_class, "message": data.failure.message}
    return {
        "id": event.id,
        "type": event.type,
        "transition": event.transition,
        "time": event.time,
        "job": event.subject,
        "sequence": event.sequence,
        "tenant": data.tenant,
        "queue": data.queue,
        "task": data.task,
        "attempt": data.attempt,
        "generation": data.generation,
        "failure": failure,
        "traceparent": event.traceparent,
        "partition": event.partition,
        "offset": event.offset,
    }


def event_text(event: Event) -> Text:
    """An event for people."""
    clock = event.time.astimezone().strftime("%H:%M:%S.%f")[:12]
    line = Text.assemble((f"{clock} ", "dim"), (f"{event.transition:<10}", STYLES.get(event.transition, "bold")))
    line.append(f" {event.data.task} {event.subject}")
    if event.data.HasField("failure"):
        line.append(f" {event.data.failure.error_class}: {event.data.failure.message}", style="dim")
    return line
