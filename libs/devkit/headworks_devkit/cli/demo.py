"""`headworks demo`: the whole suite once, on a real job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from headworks_devkit.cli import exits
from headworks_devkit.demo import census_table, report
from headworks_devkit.demo.example import Example, NoCheckout, find_example
from headworks_devkit.demo.runner import Demo, Outcome
from headworks_devkit.traces import render

LOGS = "demo-logs"


def demo(
    out: Annotated[Path, typer.Option(help="Where the numbers go, as JSON.")] = Path("build/demo.json"),
    files: Annotated[int, typer.Option(help="Only the last so many files; 0: all.", min=0)] = 0,
) -> None:
    """Run everything once: a census of the Python standard library, one job a file.

    Starts Redis, Kafka, a limiter, a scheduler and two workers; every worker asks the limiter before it reads; a Kafka
    subscriber counts the ends; one job's trace is printed. Exit code 1 if a job was lost or an event is missing.

    ```
    headworks demo
    ```
    """
    try:
        example = find_example()
    except NoCheckout as error:
        raise typer.Exit(exits.fail(str(error), exits.USAGE)) from None
    chosen = replace(example, files=example.files[-files:])
    exits.execute(lambda: _demo(chosen, out))


async def _demo(example: Example, out: Path) -> int:
    console = Console(highlight=False)
    outcome = await Demo(example, console, out.parent / LOGS).run()
    outcome.report.write(out)
    _show(console, outcome)
    console.print(f"all of it is in {out}, the services' logs in {out.parent / LOGS}", style="dim")
    if outcome.report.ok:
        return exits.OK
    return exits.fail(f"{outcome.report.jobs_lost} jobs lost, {outcome.report.events_missing} events missing")


def _show(console: Console, outcome: Outcome) -> None:
    console.print()
    console.print(census_table.table(outcome.rows))
    console.print()
    console.print(report.dead_letters(outcome.report), soft_wrap=True)
    complete = outcome.traces.complete()
    if complete:
        console.print(Text("one job's trace, from the caller to the subscriber", style="italic"))
        console.print(render(outcome.traces.tree(complete[0])), soft_wrap=True)
    else:
        for trace_id in outcome.traces.begun()[:1]:
            console.print(f"no trace is complete; in {trace_id} these are missing: {outcome.traces.missing(trace_id)}")
    console.print()
    console.print(report.numbers(outcome.report))
