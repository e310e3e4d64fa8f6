"""The commands and the options that all of them share."""

from __future__ import annotations

from typing import Annotated

import typer

from headworks_devkit.cli import dead, demo, events, exits, jobs, limits, queues, up, workers
from headworks_devkit.cli.targets import Targets

DEFAULTS = Targets()

app = typer.Typer(
    name="headworks",
    help="""Limiter, scheduler and workers: run them, and talk to them.

    **Start here**

    ```
    headworks demo                               everything once, on a real job
    headworks up                                 the suite on this machine, until Ctrl-C
    headworks jobs submit hello name=you --wait  run a task
    headworks queues list                        what waits, runs, died
    headworks workers list                       who works
    headworks dead list                          what failed for good
    headworks limits check hello user=you        may I?
    headworks events tail                        hear what ended
    ```
    """,
    epilog=exits.HELP,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(jobs.app, name="jobs")
app.add_typer(queues.app, name="queues")
app.add_typer(workers.app, name="workers")
app.add_typer(dead.app, name="dead")
app.add_typer(limits.app, name="limits")
app.add_typer(events.app, name="events")
app.command("up")(up.up)
app.command("demo")(demo.demo)


@app.callback()
def shared(
    context: typer.Context,
    scheduler: Annotated[
        str, typer.Option(envvar="HEADWORKS_SCHEDULER", help="The scheduler's address.", metavar="HOST:PORT")
    ] = DEFAULTS.scheduler,
    limiter: Annotated[
        str, typer.Option(envvar="HEADWORKS_LIMITER", help="The limiter's address.", metavar="HOST:PORT")
    ] = DEFAULTS.limiter,
    kafka: Annotated[
        str, typer.Option(envvar="HEADWORKS_KAFKA_BOOTSTRAP", help="Kafka brokers.", metavar="HOST:PORT,...")
    ] = DEFAULTS.kafka,
    tenant: Annotated[str, typer.Option(envvar="HEADWORKS_TENANT", help="On whose behalf.")] = DEFAULTS.tenant,
) -> None:
    """Take the shared options."""
    context.obj = Targets(scheduler, limiter, kafka, tenant)
